"""What the tests of `export/coral` share: an export folder, a board it is copied to, and ways to call."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from export.coral import detect
from mkd_tf.conversion.tflite.format import TFLite
from mkd_tf.deployment.manifest import record
from tests.conversion import made
from tests.records import MEASURED

PROGRAM = Path(detect.__file__)
NAME = "student_int8.tflite"
LABELS = ("class0", "class1", "class2")
THRESHOLD = 0.55


def compiled():
    """A file as it may come from the compiler: with its custom op's name, and without the archive."""
    content = made.file("int8")
    return content[: content.index(b"PK\x03\x04")] + b"edgetpu-custom-op"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export folder as the exporter leaves it."""
    folder = tmp_path_factory.mktemp("run")
    entry = MEASURED | {
        "flags": dataclasses.asdict(TFLite()) | {"fit": "letterbox"},
        "recommended_score_threshold": {"value": THRESHOLD, "f1": 0.5, "chosen": "so"},
    }
    return record(folder, NAME, made.file("int8"), LABELS, entry, "accepted")[0].parent


@pytest.fixture
def board(exported, tmp_path):
    """What is copied to a board, with two images, and an earlier result."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in").mkdir()
    for i, image in enumerate(made.images(2, seed=3)):
        Image.fromarray(image).resize((96, 60)).save(tmp_path / f"in/{i}.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0.png.png").write_bytes(b"earlier")
    return tmp_path


def run(board, *flags, model=NAME, source=("--input", "in")):
    command = [sys.executable, PROGRAM, "--model", model, *source, "--output", "out", *flags]
    return subprocess.run(command, cwd=board, capture_output=True, text=True, timeout=120, check=False)


def call(monkeypatch, board, *flags, model=NAME, source=("--input", "in")):
    """`run` in this process, for what must be replaced in it."""
    monkeypatch.chdir(board)
    monkeypatch.setattr(sys, "argv", ["detect.py", "--model", model, *source, "--output", "out", *flags])
    detect.main()
