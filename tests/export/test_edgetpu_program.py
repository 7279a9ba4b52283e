"""`python -m export.edgetpu` as users call and miscall it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edgetpu.edgetpu_models import model
from tests.edgetpu.fake_edgetpu_compiler import install

ROOT = Path(__file__).resolve().parents[2]


def _run(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "export.edgetpu", *flags],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_accepted_file(tmp_path):
    path = tmp_path / "student.tflite"
    path.write_bytes(model("detection"))
    install(tmp_path, "ends on the CPU")
    done = _run(tmp_path, f"--model={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TFLite_Detection_PostProcess" in done.stdout
    assert "accepted by edgetpu_compiler" in done.stdout
    assert (tmp_path / "student_edgetpu.tflite").read_bytes() == b"compiled of " + model("detection")


def test_a_rejected_file(tmp_path):
    path = tmp_path / "student.tflite"
    path.write_bytes(model("gelu"))
    done = _run(tmp_path, f"--model={path}", "--compiler=never")
    assert done.returncode == 1
    assert "operator GELU v2" in done.stdout
    assert "does not know the operator" in done.stdout
    assert "rejected by the static check" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no such file"), (b"\x1c\0\0\0TFL3" + bytes(64), "breaks off or contradicts itself")],
    ids=["missing", "corrupted"],
)
def test_what_is_no_model_is_one_clear_line(tmp_path, content, told):
    path = tmp_path / "student.tflite"
    if content is not None:
        path.write_bytes(content)
    done = _run(tmp_path, f"--model={path}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert str(path) in line
    assert told in line


def test_the_flag_is_needed():
    done = _run(ROOT)
    assert done.returncode == 1
    assert "error: flag --model: expected a .tflite file" in done.stderr
