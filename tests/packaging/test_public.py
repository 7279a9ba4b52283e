"""The public face: all of it in user code, none of it when a program starts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mkd_tf
from mkd_tf.cli import PROGRAMS

SOURCE = Path(mkd_tf.__file__)
ROOT = SOURCE.parents[1]


def declared() -> set[tuple[str, str]]:
    """Module and name of every import that only type checkers see."""
    blocks = [
        node
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
    return {(str(node.module), alias.name) for node in imports for alias in node.names}


def test_type_checkers_see_what_is_there():
    assert declared() == {(module, name) for name, module in mkd_tf._MODULES.items()}
    for name in mkd_tf.__all__:
        assert name in dir(mkd_tf)
        assert hasattr(mkd_tf, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'mkd_tf' has no attribute 'Distiler'"):
        mkd_tf.Distiler  # noqa: B018
    with pytest.raises(ImportError, match="Distiler"):
        from mkd_tf import Distiler  # noqa: F401


USER_CODE = """
import sys, keras, mkd_tf
detector = keras.saving.load_model(sys.argv[1])
print(type(detector).__name__, ",".join(detector.class_names))
"""


def test_user_code_loads_a_detector_after_the_import_alone(tmp_path):
    mkd_tf.save_detector(
        mkd_tf.Tiny(64, ("cat", "dog"), widths=(8, 8, 8, 8), pyramid=8), tmp_path / "a.keras"
    )
    script = tmp_path / "mine.py"
    script.write_text(USER_CODE)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "a.keras"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert done.stdout == "Tiny cat,dog\n", done.stderr


@pytest.mark.parametrize(
    ("argv", "original", "starts"),
    [
        (["/somewhere/bin/mkd", "train"], ["python", "/somewhere/bin/mkd", "train"], True),
        (["-m", "--a=1"], ["python", "-m", "mkd_tf.train", "--a=1"], True),
        (["-m"], ["python", "-X", "dev", "-mmkd_tf.train"], True),
        (["/checkout/export/onnx.py", "--a"], ["python", "-m", "export.onnx", "--a"], True),
        (["-m", "x"], ["python", "-m", "pytest", "x"], False),
        (["/mine/export/mine.py"], ["python", "-m", "export.mine"], False),
        (["mine.py"], ["python", "mine.py"], False),
        (["mine.py"], ["python", "mine.py", "mkd_tf.train"], False),
        (["/mine/mkd.py"], ["python", "/mine/mkd.py"], False),
        (["-c"], ["python", "-c", "import mkd_tf"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_what_is_a_program_of_the_project(argv, original, starts, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert mkd_tf._is_program_starting() is starts


# Packages that take a second or more to import.
HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "tf2onnx", "onnx", "matplotlib"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program):
    command = [sys.executable, "-X", "importtime", "-m", f"mkd_tf.{program}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported or "absl" in imported, "the list of imports was read"
    assert not imported & HEAVY
