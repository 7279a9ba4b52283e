"""Which runtime `export/coral` chooses, what becomes of a crash, and what it decodes by itself."""

import ctypes
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from PIL import Image

from export.coral import detect, model_file
from export.coral import runtimes as runtimes_of_kit
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.tflite.finishing import finish
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from tests.conversion import made
from tests.export.boards import LABELS, NAME, THRESHOLD, board, call, compiled, exported

__all__ = ["board", "exported"]  # Fixtures.


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
    # A child process has none of these.
    monkeypatch.setattr(runtimes_of_kit, "probe", lambda way, path: "")
    modules = {
        "pycoral.utils.edgetpu": {"make_interpreter": interpreter("pycoral")},
        "tflite_runtime.interpreter": {
            "Interpreter": interpreter("tflite_runtime"),
            "load_delegate": lambda library: f"delegate of {library}",
        },
        "ai_edge_litert.interpreter": {
            "Interpreter": interpreter("ai_edge_litert"),
            "load_delegate": lambda library: f"delegate of {library}",
        },
    }
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))
    return asked


def test_the_order_of_the_runtimes(board, monkeypatch, runtimes, capsys):
    name = "student_int8_edgetpu.tflite"
    (board / name).write_bytes(compiled())
    delegate = ["delegate of libedgetpu.so.1"]
    order = [("pycoral", None, []), ("tflite_runtime", None, delegate), ("ai_edge_litert", None, delegate)]
    missing = ["", "pycoral.utils.edgetpu", "tflite_runtime.interpreter"]
    for module, expected in zip(missing, order, strict=True):
        if module:
            monkeypatch.setitem(sys.modules, module, None)
        call(monkeypatch, board, model=name)
        assert runtimes[-1] == expected
        # Labels, fit and threshold of the file it was compiled from.
        told = capsys.readouterr().err
        assert f"Edge TPU; letterbox; scores from {THRESHOLD:.2f}" in told and expected[0] in told
    monkeypatch.setattr(ctypes, "CDLL", mock.Mock(side_effect=OSError("cannot open shared object")))
    with pytest.raises(detect.DetectError, match="compiled for an Edge TPU, and none was found"):
        call(monkeypatch, board, model=name)


def test_a_model_that_is_not_compiled_runs_on_the_cpu(board, monkeypatch, runtimes, capsys):
    for missing, name in ((None, "ai_edge_litert"), ("ai_edge_litert.interpreter", "tflite_runtime")):
        if missing:
            monkeypatch.setitem(sys.modules, missing, None)
        call(monkeypatch, board, "--threads=3")
        assert runtimes[-1] == (name, 3, [])
        assert f"{name}, CPU (model not compiled)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            r"crashed \(SIGSEGV\).*do not fit together",
        ),
        ("raise SystemExit('Failed to load delegate')", "pycoral: Failed to load delegate"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_crash_of_a_delegate_is_a_message(board, monkeypatch, program, told):
    child = board / "child.py"
    child.write_text(program)
    monkeypatch.setattr(runtimes_of_kit, "__file__", str(child))
    monkeypatch.setattr(runtimes_of_kit, "PROBE_SECONDS", 1 if "sleep" in program else 60)
    monkeypatch.setattr(runtimes_of_kit, "ON_EDGE_TPU", ("pycoral",))
    with pytest.raises(detect.DetectError, match=told):
        runtimes_of_kit.open_interpreter(board / NAME, compiled(), 1)


def test_a_probe_runs_the_model_once():
    path = Path(runtimes_of_kit.__file__)
    assert runtimes_of_kit.probe("no_such_runtime", path) == "No module named 'no_such_runtime'"


def test_a_runtime_that_breaks_is_passed_over(monkeypatch, runtimes):
    # tflite_runtime 2.14 beside NumPy 2 is imported, and raises this when it gets a model.
    broken = mock.Mock(side_effect=SystemError("returned a result with an exception set"))
    monkeypatch.setattr(sys.modules["tflite_runtime.interpreter"], "Interpreter", broken)
    monkeypatch.setitem(sys.modules, "pycoral.utils.edgetpu", None)
    assert runtimes_of_kit.open_interpreter(NAME, made.file("int8"), 1)[1].startswith("ai_edge_litert, CPU")
    found = runtimes_of_kit.open_interpreter(NAME, compiled(), 1)[1]
    assert found == "ai_edge_litert with libedgetpu.so.1, Edge TPU"
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(detect.DetectError, match="tflite_runtime with .*: returned a result"):
        runtimes_of_kit.open_interpreter(NAME, compiled(), 1)


def test_labels_that_do_not_reach(board, monkeypatch, runtimes):
    (board / "other.tflite").write_bytes(compiled())
    with pytest.raises(detect.DetectError, match="labels inside: expected one per class, got 0"):
        call(monkeypatch, board, model="other.tflite")
    (board / "one.txt").write_text("one\n")
    with pytest.raises(detect.DetectError, match=r"labels: 1, but found class [12]"):
        call(monkeypatch, board, "--labels=one.txt", "--threshold=0", model="other.tflite")


@pytest.mark.parametrize(("quantization", "postprocess"), [("int8", "raw"), ("float32", "detection")])
def test_raw_heads_and_floats(tmp_path, quantization, postprocess):
    """Decoding and suppression in the kit are those of our runner."""
    facts = FileFacts("0.1", "ab", "letterbox", LABELS, operating_point={"value": 0.6, "chosen": "so"})
    path = tmp_path / "model.tflite"
    path.write_bytes(finish(made.file(quantization, postprocess), facts))
    detector = detect.Detector(path, "", 1)
    # Of the file itself: there is no manifest.
    assert (detector.fit, detector.threshold, detector.labels) == ("letterbox", 0.6, list(LABELS))
    (image,) = made.images(1)
    found, _ = detector(Image.fromarray(image), "stretch", 0.4)
    wanted = TFLiteRunner(path)(image[None])[0].above(0.4)
    assert len(found) == len(wanted) > 5
    assert [entry["class"] for entry in found] == wanted.labels.tolist()
    np.testing.assert_allclose([e["box"] for e in found], wanted.boxes * made.SIDE, atol=0.01)
    np.testing.assert_allclose([e["score"] for e in found], wanted.scores, atol=1e-4)


def test_anchors_beside_a_compiled_raw_file(tmp_path):
    content = made.file("int8", "raw")
    inside = model_file.read_anchors(tmp_path / "m.tflite", model_file.read_archive(content))
    (tmp_path / "m.anchors.csv").write_bytes(model_file.read_archive(content)["anchors.csv"])
    np.testing.assert_array_equal(model_file.read_anchors(tmp_path / "m_edgetpu.tflite", {}), inside)
    with pytest.raises(detect.DetectError, match=r"no anchors inside or in .*other\.anchors\.csv"):
        model_file.read_anchors(tmp_path / "other.tflite", {})
