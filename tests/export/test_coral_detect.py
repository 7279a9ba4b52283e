"""`export/coral/detect.py` as it is used and misused; what it finds is tested in test_coral_contract."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.coral import detect
from tests.conversion import made
from tests.export.boards import LABELS, NAME, THRESHOLD, board, call, exported, run

__all__ = ["board", "exported"]  # Fixtures.


def test_a_folder(board):
    (board / "in/broken.jpg").write_bytes(b"no image")
    (board / "in/notes.txt").write_bytes(b"no image by its name")
    done = run(board)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "error: 1 images could not be read: broken.jpg"
    assert "skipped in/broken.jpg: cannot identify" in done.stderr
    assert f"letterbox; scores from {THRESHOLD:.2f}" in done.stderr, "as the manifest says"
    lines = done.stdout.splitlines()
    assert f"2 images, {len(lines)} detections; inference" in done.stderr and len(lines) > 3
    assert all(line.startswith(("0.png: class", "1.png: class")) for line in lines)
    assert min(float(line.split()[2][:-1]) for line in lines) >= THRESHOLD - 0.005
    assert sorted(p.name for p in (board / "out").iterdir()) == ["0.png.png", "1.png.png"]
    drawn, original = (np.asarray(Image.open(board / p)) for p in ("out/0.png.png", "in/0.png"))
    assert drawn.shape == original.shape and (drawn != original).any()


def test_json_and_flags_over_the_manifest(board):
    done = run(board, "--json", "--threshold=0.9", "--fit=stretch", source=("--input", "in/1.png"))
    assert done.returncode == 0, done.stderr
    assert "stretch; scores from 0.90" in done.stderr
    told = json.loads(done.stdout)
    assert (told["image"], told["width"], told["height"]) == ("1.png", 96, 60)
    assert told["inference_ms"] > 0
    for entry in told["detections"]:
        ymin, xmin, ymax, xmax = entry["box"]
        assert 0 <= ymin < ymax <= 60 and 0 <= xmin < xmax <= 96
        assert entry["label"] == LABELS[entry["class"]] and entry["score"] >= 0.9
    assert (board / "out/0.png.png").read_bytes() == b"earlier"


def test_without_a_manifest(board):
    (board / "manifest.json").unlink()
    done = run(board)
    assert done.returncode == 0, done.stderr
    assert "stretch; scores from 0.30" in done.stderr


def _cut_off(board):
    (board / NAME).write_bytes(made.file("int8")[:9000])


def _cut_off_alone(board):
    _cut_off(board)
    (board / "manifest.json").unlink()


def _no_model(board):
    (board / NAME).write_bytes(b"no model")


def _changed(field, value):
    """Returns what writes another value into a field of the manifest."""

    def spoil(board):
        manifest = json.loads((board / "manifest.json").read_text())
        entry = manifest["files"][NAME]
        places = {"fit": entry["flags"], "value": entry["recommended_score_threshold"], "labels": manifest}
        places[field][field] = value
        (board / "manifest.json").write_text(json.dumps(manifest))

    return spoil


@pytest.mark.parametrize(
    ("flags", "spoil", "told"),
    [
        (["--model=none.tflite"], None, ["model none.tflite: no such file"]),
        ([], _no_model, [NAME, "not a .tflite file"]),
        ([], _cut_off, [NAME, "cut off", "manifest.json", "copy both again"]),
        ([], _cut_off_alone, ["no labels inside", "cut off"]),
        ([], lambda b: (b / "manifest.json").write_text("{"), ["manifest.json: damaged", "copy it again"]),
        ([], lambda b: (b / "manifest.json").write_text('{"files": 1}'), ["manifest.json: damaged"]),
        (
            [],
            _changed("fit", "crop"),
            ["manifest.json: damaged", "fit: expected stretch or letterbox, got 'crop'"],
        ),
        ([], _changed("value", "high"), ["manifest.json: damaged", "expected a number in 0..1, got 'high'"]),
        ([], _changed("value", True), ["expected a number in 0..1, got True"]),
        ([], _changed("value", float("nan")), ["expected a number in 0..1, got nan"]),
        ([], _changed("labels", "class0"), ["labels: expected a list of texts, got 'class0'"]),
        ([], _changed("labels", [1, 2, 3]), ["labels: expected a list of texts, got [1, 2, 3]"]),
        (["--labels=two.txt"], None, ["two.txt", "expected 3 (class0, class1, class2), got 2"]),
        (["--labels=none.txt"], None, ["labels none.txt: cannot be read"]),
        (["--labels=latin.txt"], None, ["labels latin.txt: cannot be read"]),
        (["--input=none"], None, ["input none: no images there"]),
        (["--output=in"], None, ["output in: the folder of the images themselves"]),
        (["--output=two.txt"], None, ["output two.txt/0.png.png: cannot be written"]),
    ],
)
def test_mistakes_are_told_and_harm_nothing(board, flags, spoil, told):
    (board / "two.txt").write_text("one\ntwo\n")
    (board / "latin.txt").write_bytes("é\n".encode("latin-1"))
    if spoil:
        spoil(board)
    images = {p.name: p.read_bytes() for p in (board / "in").iterdir()}
    done = run(board, *flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and all(word in line for word in told), done.stderr
    assert {p.name: p.read_bytes() for p in (board / "in").iterdir()} == images
    assert [p.read_bytes() for p in (board / "out").iterdir()] == [b"earlier"]


def test_the_command_line_is_checked(board):
    for flags in (
        ["--threshold=nan"],
        ["--threads=65"],
        ["--threads=0"],
        ["--frames=-1"],
        ["--camera=0"],
        ["--fit=crop"],
    ):
        assert run(board, *flags).returncode == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second as Windows saves it
def test_labels_of_ones_own(board, encoding):
    (board / "own.txt").write_text("rouge\nvert\nbleu\n", encoding=encoding)
    done = run(board, "--labels=own.txt")
    assert done.returncode == 0, done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines()} <= {"rouge", "vert", "bleu"}


def test_a_failed_copy_leaves_the_earlier_one(board, monkeypatch):
    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(detect.DetectError, match="out/0.png.png: cannot be written"):
        call(monkeypatch, board)
    assert [p.read_bytes() for p in (board / "out").iterdir()] == [b"earlier"]


class Camera:
    """A camera of three frames, blue in OpenCV's order of channels."""

    def __init__(self, source):
        self.source, self.frames, self.released = source, 3, False

    def isOpened(self):
        return self.source != 9

    def read(self):
        self.frames -= 1
        return self.frames >= 0, np.tile(np.array([255, 0, 0], "uint8"), (48, 64, 1))

    def release(self):
        self.released = True


def test_a_camera(board, monkeypatch, capsys):
    opened = []
    cv2 = types.SimpleNamespace(VideoCapture=lambda source: opened.append(Camera(source)) or opened[-1])
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    call(monkeypatch, board, "--frames=2", "--threshold=1", "--json", source=("--camera", "0"))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["image"] for t in told] == ["frame 1", "frame 2"]
    assert Image.open(board / "out/camera.png").getpixel((5, 5)) == (0, 0, 255)
    with pytest.raises(detect.DetectError, match="camera /dev/video1: no image after 3 frames"):
        call(monkeypatch, board, source=("--camera", "/dev/video1"))
    with pytest.raises(detect.DetectError, match="camera 9: no image after 0 frames"):
        call(monkeypatch, board, source=("--camera", "9"))
    assert [c.source for c in opened] == [0, "/dev/video1", 9] and all(c.released for c in opened)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(detect.DetectError, match="camera: needs OpenCV"):
        call(monkeypatch, board, source=("--camera", "0"))


def test_ctrl_c(board, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(detect, "draw", interrupted)
    with pytest.raises(detect.DetectError, match="interrupted"):
        call(monkeypatch, board)


def test_memory_is_steady(board, monkeypatch, capsys):
    """A camera's times are not kept for ever."""
    monkeypatch.setattr(detect, "TIMES_KEPT", 2)
    cv2 = types.SimpleNamespace(VideoCapture=Camera)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    call(monkeypatch, board, "--frames=3", "--threshold=1", source=("--camera", "0"))
    assert "3 images, 0 detections; inference" in capsys.readouterr().err.splitlines()[-1]
