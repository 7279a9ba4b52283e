"""Where the package of an extra is missing, the error names the extra."""

import ast
import configparser
import sys
from pathlib import Path

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion import FORMATS
from mkd_tf.diagnosis.format import DiagnoseOptions
from mkd_tf.diagnosis.run import diagnose_file

ROOT = Path(__file__).resolve().parents[2]


def test_errors_name_extras_that_exist():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = set()
    for path in ROOT.glob("mkd_tf/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_extra":
                named.add(ast.literal_eval(node.args[2]))
    assert named == {"onnx", "plots", "selective"}
    assert named <= set(setup["options.extras_require"])


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "tf2onnx"])
def test_onnx(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MkdError, match=rf"the package {package}, got none.*pip install mkd_tf\[onnx\]"):
        FORMATS["onnx"]().require()


@pytest.mark.parametrize(
    ("package", "extra", "options"),
    [
        ("matplotlib", "plots", DiagnoseOptions()),
        ("ai_edge_quantizer.quantizer", "selective", DiagnoseOptions(precise_layers=1)),
    ],
)
def test_diagnosis(package, extra, options, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    # Before anything is read: there is no context to read from.
    with pytest.raises(MkdError, match=rf"pip install mkd_tf\[{extra}\]"):
        diagnose_file(None, options)
