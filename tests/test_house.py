"""The rules of the house that no linter knows."""

import ast
import configparser
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The files beside `detect.py` of export/coral, which are copied to a board together.
KIT = ("model_file", "runtimes")
LIBRARY = sorted(p for top in ("mkd_tf", "export") for p in ROOT.glob(f"{top}/**/*.py"))
SOURCES = LIBRARY + sorted(ROOT.glob("tests/**/*.py"))
LONGEST = 300
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}

_IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        # 3 is O_ACCMODE: anything but 0 may write. Devices are no files.
        if isinstance(path, str) and flags & 3 and not path.startswith("/dev/"):
            raise RuntimeError(f"opened {path} for writing")
    elif event in ("socket.connect", "socket.getaddrinfo", "os.mkdir", "subprocess.Popen"):
        raise RuntimeError(f"{event} {arguments}")

# Others do work when they are imported; what they do is not the house's fault.
import absl.app, keras, matplotlib, numpy, PIL, rich, tensorflow as tf
from tensorflow.python.eager import context

sys.addaudithook(watch)
import mkd_tf
names = [m.name for m in pkgutil.walk_packages(mkd_tf.__path__, "mkd_tf.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
if context.context()._initialized:
    raise RuntimeError("importing touched TensorFlow's devices")
for optional in ("onnxruntime", "keras_hub", "mediapipe"):
    if optional in sys.modules:
        raise RuntimeError(f"importing needed the optional {optional}")
print(len(names))
"""


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", LIBRARY, ids=_relative)
def test_library_code(path):
    assert path.stem not in VAGUE_NAMES
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise MkdError instead of assert"
        named = getattr(node, "id", None) or getattr(node, "attr", None)
        assert named != "FLAGS" or path.name == "flags.py", f"line {node.lineno}: only flags.py reads FLAGS"


def test_importing_does_no_work(tmp_path):
    quiet = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path)}
    child = subprocess.run(
        [sys.executable, "-c", _IMPORT_EVERYTHING],
        env=os.environ | quiet,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) > 30


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_declared():
    setup = _setup()
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line for text in lists for line in text.splitlines() if line]
    declared = {_canonical(re.split(r"[<>=\[; ]", line)[0]) for line in lines}
    distributions = importlib.metadata.packages_distributions()
    imported = set()
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    for name in imported - set(sys.stdlib_module_names) - {"mkd_tf", "export", *KIT}:
        # A package that is not installed goes by its own name.
        owners = {_canonical(d) for d in distributions.get(name, [name])}
        assert owners & declared, f"setup.cfg does not declare {name}"


def test_console_scripts_exist():
    for line in _setup()["options.entry_points"]["console_scripts"].strip().splitlines():
        module, function = line.split("=")[1].strip().split(":")
        assert callable(getattr(importlib.import_module(module), function)), line
