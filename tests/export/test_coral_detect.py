"""`export/coral/detect.py` as it is used and misused; what it finds is tested in test_coral_contract."""

import ctypes
import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
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


def _float_model(board):
    (board / NAME).write_bytes(made.file("float32"))
    (board / "manifest.json").unlink()


def _cut_off(board):
    (board / NAME).write_bytes(made.file("int8")[:9000])


def _cut_off_alone(board):
    _cut_off(board)
    (board / "manifest.json").unlink()


def _no_model(board):
    (board / NAME).write_bytes(b"no model")


@pytest.mark.parametrize(
    ("flags", "spoil", "told"),
    [
        (["--model=none.tflite"], None, ["model none.tflite: no such file"]),
        ([], _no_model, [NAME, "not a .tflite file"]),
        ([], _cut_off, [NAME, "cut off", "manifest.json", "copy both again"]),
        ([], _cut_off_alone, ["no labels inside", "cut off"]),
        (
            [],
            _float_model,
            ["expected uint8 [1, H, W, 3] and 4 outputs", "--quantization=int8", "got float32"],
        ),
        ([], lambda b: (b / "manifest.json").write_text("{"), ["manifest.json: damaged", "copy it again"]),
        ([], lambda b: (b / "manifest.json").write_text('{"files": 1}'), ["manifest.json: damaged"]),
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
    for flags in (["--threshold=1.5"], ["--threads=0"], ["--frames=-1"], ["--camera=0"], ["--fit=crop"]):
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


@pytest.fixture
def runtimes(monkeypatch):
    """Coral's packages, played by LiteRT; returns in which order they were asked."""
    asked = []

    def interpreter(name):
        def make(model_content, num_threads=None, experimental_delegates=()):
            asked.append((name, num_threads, list(experimental_delegates)))
            return litert.Interpreter(model_content=model_content)

        return make

    monkeypatch.setattr(ctypes, "CDLL", asked.append)
    modules = {
        "pycoral.utils.edgetpu": {"make_interpreter": interpreter("pycoral")},
        "tflite_runtime.interpreter": {
            "Interpreter": interpreter("tflite_runtime"),
            "load_delegate": lambda library: f"delegate of {library}",
        },
        "ai_edge_litert.interpreter": {"Interpreter": interpreter("ai_edge_litert")},
    }
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))
    return asked


def test_the_order_of_the_runtimes(board, monkeypatch, runtimes, capsys):
    (board / "student_int8_edgetpu.tflite").write_bytes(compiled())
    order = [("pycoral", None, []), ("tflite_runtime", None, ["delegate of libedgetpu.so.1"])]
    order += [("ai_edge_litert", 3, []), ("tflite_runtime", 3, [])]
    for missing, expected in zip(["", "pycoral.utils.edgetpu", "CDLL", "litert"], order, strict=True):
        if missing == "CDLL":
            monkeypatch.setattr(ctypes, "CDLL", mock.Mock(side_effect=OSError("cannot open shared object")))
        elif missing == "litert":
            monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        elif missing:
            monkeypatch.setitem(sys.modules, missing, None)
        call(monkeypatch, board, "--threads=3")
        assert runtimes[-1] == expected
        told = capsys.readouterr().err
        assert f"{expected[0]}" in told and "CPU (model not compiled)" in told
        if missing in ("", "pycoral.utils.edgetpu"):
            call(monkeypatch, board, model="student_int8_edgetpu.tflite")
            told = capsys.readouterr().err
            # Labels, fit and threshold of the file it was compiled from.
            assert f"Edge TPU; letterbox; scores from {THRESHOLD:.2f}" in told
        else:
            with pytest.raises(detect.DetectError, match="compiled for an Edge TPU, and none was found"):
                call(monkeypatch, board, model="student_int8_edgetpu.tflite")


def test_a_runtime_that_breaks_is_passed_over(monkeypatch, runtimes):
    # tflite_runtime 2.14 beside NumPy 2 is imported, and raises this when it gets a model.
    broken = mock.Mock(side_effect=SystemError("returned a result with an exception set"))
    monkeypatch.setattr(sys.modules["tflite_runtime.interpreter"], "Interpreter", broken)
    monkeypatch.setitem(sys.modules, "pycoral.utils.edgetpu", None)
    assert detect.open_interpreter(NAME, made.file("int8"), 1)[1].startswith("ai_edge_litert, CPU")
    with pytest.raises(detect.DetectError, match="tflite_runtime with .*: returned a result"):
        detect.open_interpreter(NAME, compiled(), 1)


def test_labels_that_do_not_reach(board, monkeypatch, runtimes):
    (board / "other.tflite").write_bytes(compiled())
    with pytest.raises(detect.DetectError, match="labels inside: expected one per class, got 0"):
        call(monkeypatch, board, model="other.tflite")
    (board / "one.txt").write_text("one\n")
    with pytest.raises(detect.DetectError, match=r"labels: 1, but found class [12]"):
        call(monkeypatch, board, "--labels=one.txt", "--threshold=0", model="other.tflite")


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
