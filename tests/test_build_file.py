"""BUILD is what `python -m tests.write_build` writes, and that follows the imports."""

from pathlib import Path

from tests import run_bazel, write_build
from tests.write_build import ROOT


def test_build_is_current():
    written = (ROOT / "BUILD").read_text(encoding="utf-8")
    assert written == write_build.build_file(), "run python -m tests.write_build"


def test_every_module_is_in_one_library():
    sources = [file for rule in write_build.rules() for file in rule.files]
    modules = {
        str(p.relative_to(ROOT)) for top in ("mkd_tf", "export", "tests") for p in ROOT.glob(f"{top}/**/*.py")
    }
    tests = set(write_build.test_files())
    assert sorted(set(sources) - tests) == sorted(file for file in sources if file not in tests)
    assert set(sources) | tests == modules


def test_every_test_file_has_a_test():
    written = (ROOT / "BUILD").read_text(encoding="utf-8")
    for path in ROOT.glob("tests/**/test_*.py"):
        assert f'    "{path.relative_to(ROOT)}": [' in written


IMPORTS = """
import json
import mkd_tf.checks
from mkd_tf import Distiller
from mkd_tf import flags, files as other

def later():
    from mkd_tf.data import open_dataset
    run(module="mkd_tf.train", text="mkd_tf.no_module", sentence="mkd_tf. train")
"""


def test_imported_files_by_hand(tmp_path, monkeypatch):
    for file in ("__init__", "checks", "flags", "files", "train", "data/__init__", "unused"):
        path = tmp_path / "mkd_tf" / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.setattr(write_build, "ROOT", tmp_path)
    imported = {"__init__", "checks", "flags", "files", "data/__init__"}
    for name, more in (("mkd_tf/a.py", set()), ("tests/test_a.py", {"train"})):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(IMPORTS)
        assert write_build.imported_files(name) == {f"mkd_tf/{file}.py" for file in imported | more}


def test_a_binary_says_what_it_runs():
    (train,) = [rule for rule in write_build.rules() if rule.name == "train"]
    assert train.kind == "py_binary"
    assert train.files == {"mkd_tf/train.py"}
    assert ":flags" in write_build.needed(train.files, train.label)
    assert Path(ROOT, "BUILD").read_text().count('main = "mkd_tf/train.py"') == 1


def test_without_bazel_the_message_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(run_bazel.shutil, "which", lambda name: None)
    assert run_bazel.main([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: missing bazel")
    assert "apt-get install bazel-bootstrap" in error
    assert error.count("\n") == 1


def test_bazel_is_given_targets_that_exist():
    tests = {f"//:{path.removesuffix('.py')}" for path in write_build.test_files()}
    assert len(run_bazel.TARGETS) >= 3
    assert set(run_bazel.TARGETS) <= tests
