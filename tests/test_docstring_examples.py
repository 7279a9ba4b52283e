"""The examples in docstrings run, and show what they claim."""

import doctest
import importlib
from pathlib import Path

import pytest

import mkd_tf

PACKAGE = Path(mkd_tf.__file__).parent
MODULES = sorted(
    ".".join(["mkd_tf", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)
# Tables and the version are values; users meet an error and an AdaptedDetector as what others return.
WITHOUT_EXAMPLE = {"DATASETS", "DETECTORS", "STRATEGIES", "__version__", "AdaptedDetector", "MkdError"}
WITH_EXAMPLE = sorted({*mkd_tf.__all__} - WITHOUT_EXAMPLE)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # An example may write a file.
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_public_face_has_examples(name):
    assert ">>> " in getattr(mkd_tf, name).__doc__
