"""The ONNX runner: what a file says is believed, and what does not fit together is told."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from mkd_tf.checks import MkdError
from mkd_tf.conversion.model_files import load_runner
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.evaluation.runners import KerasRunner
from tests.conversion import made
from tests.conversion.onnx import made_onnx

FORMS = [("float32", "decoded"), ("float32", "raw"), ("int8", "decoded"), ("int8", "raw")]


def told_otherwise(content, **changes):
    """The file with other metadata; None takes an entry away."""
    model = onnx.load_from_string(content)
    facts = {p.key: p.value for p in model.metadata_props} | changes
    del model.metadata_props[:]
    helper.set_model_props(model, {k: v for k, v in facts.items() if v is not None})
    return model.SerializeToString()


@pytest.mark.parametrize("form", FORMS)
def test_it_finds_what_the_detector_finds(form):
    runner, images = OnnxRunner(made_onnx.file(*form)), made.images(3)
    tolerance = {"float32": 1e-5, "int8": 0.06}[form[0]]
    for found, wanted in zip(runner(images), KerasRunner(made.detector())(images), strict=True):
        assert found.boxes.dtype == np.float32 and found.labels.dtype == np.int32
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=tolerance)
        if form[0] == "float32":
            np.testing.assert_array_equal(found.labels, wanted.labels)
            np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-4)


def test_what_it_says_of_itself():
    runner = OnnxRunner(made_onnx.file())
    assert runner.image_size == made.SIDE and runner.class_names == made.detector().class_names
    assert runner.fit == "stretch" and not runner.is_raw
    assert OnnxRunner(told_otherwise(made_onnx.file(), fit="letterbox")).fit == "letterbox"
    assert OnnxRunner(made_onnx.file(postprocess="raw")).is_raw


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_bytes_and_floats_are_the_same(quantization):
    runner, images = OnnxRunner(made_onnx.file(quantization)), made.images(2)
    for a, b in zip(runner(images), runner(images.astype("float32")), strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_floats_are_rounded_and_clipped_to_bytes():
    runner = OnnxRunner(made_onnx.file("int8"))
    rough = np.full((1, made.SIDE, made.SIDE, 3), 300.0)
    rough[:, ::2] = -7.0
    exact = np.where(rough > 0, 255, 0).astype("uint8")
    np.testing.assert_array_equal(runner.invoke(rough)["scores"], runner.invoke(exact)["scores"])
    grey = np.full_like(rough, 100.6)
    np.testing.assert_array_equal(
        runner.invoke(grey)["scores"], runner.invoke(np.full_like(exact, 101))["scores"]
    )


@pytest.mark.parametrize("postprocess", ["decoded", "raw"])
def test_the_callers_thresholds_hold(postprocess):
    config = PostprocessConfig(score_threshold=0.4, max_detections=3)
    for found in OnnxRunner(made_onnx.file(postprocess=postprocess), config)(made.images(2, seed=9)):
        assert 0 < len(found) <= 3 and found.scores.min() >= 0.4


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_batches_of_any_length(dynamic_batch):
    runner, images = OnnxRunner(made_onnx.file(dynamic_batch=dynamic_batch)), made.images(3)
    assert runner(images[:0]) == []
    for image, together in zip(images, runner(images), strict=True):
        np.testing.assert_allclose(runner(image[None])[0].scores, together.scores, atol=1e-5)
    assert {name: x.shape[0] for name, x in runner.invoke(images[0]).items()} == {"boxes": 1, "scores": 1}


def test_suffix_decides(tmp_path):
    (tmp_path / "a.int8.ONNX").write_bytes(made_onnx.file("int8"))
    assert isinstance(load_runner(tmp_path / "a.int8.ONNX"), OnnxRunner)


def test_damaged_files(tmp_path):
    whole = made_onnx.file()
    for name, content in {
        "empty": b"",
        "text": b"no model" * 100,
        "cut": whole[: len(whole) // 3],
        "overwritten": whole[:200] + bytes(5000) + whole[5200:],
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(MkdError, match=rf"model .*{name}.onnx: not a readable ONNX file"):
            OnnxRunner(path)
    with pytest.raises(MkdError, match="expected an .onnx file, got no such file"):
        OnnxRunner(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mkd_tf.schema": None}, "expected metadata of schema 1, got none"),
        ({"mkd_tf.schema": "2"}, "expected metadata of schema 1, got 2"),
        ({"class_names": None}, r"metadata damaged \(KeyError: 'class_names'\)"),
        ({"class_names": "a, b"}, "metadata damaged"),
        ({"class_names": "3"}, "metadata damaged"),
        ({"class_names": '["a", "b"]'}, "expected 3 class names inside, got 2"),
        ({"image_size": "96"}, "expected image_size 64 in the metadata, got 96"),
        ({"image_size": "large"}, "metadata damaged"),
        ({"fit": "crop"}, "expected a fit of stretch or letterbox, got crop"),
        ({"anchors": "[[0.5, 0.5, 1, 1]]"}, r"expected anchors \[84, 4\] inside, got \[1, 4\]"),
        ({"anchors": "[[0.5], [0.5, 1]]"}, "metadata damaged"),
    ],
)
def test_metadata_that_do_not_fit(changes, told):
    with pytest.raises(MkdError, match=told):
        OnnxRunner(told_otherwise(made_onnx.file(postprocess="raw"), **changes))


@pytest.mark.parametrize(
    ("kind", "shape", "output", "told"),
    [
        (1, [1, 64, 64, 3], "result", "expected outputs boxes, scores or .*, got result"),
        (1, [1, 3, 64, 64], "scores", r"an input of shape \[batch, S, S, 3\], got \[1, 3, 64, 64\]"),
        (1, [1, 64, 32, 3], "scores", r"an input of shape .*, got \[1, 64, 32, 3\]"),
        (11, [1, 64, 64, 3], "scores", r"uint8 or float32 input, got tensor\(double\)"),
    ],
)
def test_foreign_models(kind, shape, output, told):
    ports = [helper.make_tensor_value_info(name, kind, shape) for name in ("images", output)]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], [output])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(MkdError, match=told):
        OnnxRunner(model.SerializeToString())


def test_another_input_name_is_told():
    model = onnx.load_from_string(made_onnx.file())
    model.graph.input[0].name = "pixels"
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
    with pytest.raises(MkdError, match="expected one input, images, got pixels"):
        OnnxRunner(model.SerializeToString())


def test_missing_onnxruntime_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MkdError, match=r"the package onnxruntime, got none. .*pip install mkd_tf\[onnx\]"):
        OnnxRunner(made_onnx.file())


def test_images_of_another_size_are_told():
    with pytest.raises(MkdError, match=r"images: expected shape \[None, 64, 64, 3\]"):
        OnnxRunner(made_onnx.file())(np.zeros((1, 32, 32, 3), "uint8"))


_SESSION = """
import sys
import mkd_tf
import onnx, onnxruntime
value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value],
    [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])])
made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
onnxruntime.InferenceSession(made.SerializeToString())
"""


def test_onnxruntime_counts_nothing_about_its_users(tmp_path):
    """Where it does, it keeps a data base in the user's cache, whose content it sends to its maker."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", _SESSION]
    subprocess.run(command, env=environment | {"XDG_CACHE_HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.glob("Microsoft*"))
