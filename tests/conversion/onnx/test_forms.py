"""Further forms of ONNX files: symmetric int8, float16, suppression inside, and OpenVINO's compiler."""

import functools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.onnx.convert import to_onnx
from mkd_tf.conversion.onnx.format import Onnx
from mkd_tf.conversion.onnx.model_edits import order, with_facts
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.deployment.shipping import first
from tests.conversion import made
from tests.conversion.onnx import made_onnx


@functools.cache
def symmetric() -> bytes:
    return to_onnx(made.detector(), "int8", made.images(8), "raw", symmetric=True)


@functools.cache
def suppressed() -> bytes:
    return to_onnx(made.detector(), postprocess="nms")


def test_zero_points_of_a_symmetric_file_are_zero():
    graph = onnx.load_from_string(symmetric()).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    quantizers = [n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantizers) > 20
    for node in quantizers:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    # Kernels are integers, per output channel.
    makers = {n.output[0]: n for n in graph.node}
    for node in (n for n in graph.node if n.op_type == "Conv"):
        image, kernel = (makers[name] for name in node.input[:2])
        assert {image.op_type, kernel.op_type} == {"DequantizeLinear"}
        assert constants[kernel.input[1]].shape == (constants[kernel.input[0]].shape[0],)


def test_a_symmetric_file_is_near_the_detector():
    images = made.images(2)
    exact = made.detector().predict(images.astype("float32"), verbose=0)
    rough = OnnxRunner(made_onnx.file("int8", "raw")).invoke(images)
    for name, values in OnnxRunner(symmetric()).invoke(images).items():
        error, of_bytes = (np.abs(x - exact[name]).mean() for x in (values, rough[name]))
        # Behind a ReLU half of the integers are not used: one bit less.
        assert error < 2.5 * of_bytes, name


def test_float16_is_half_as_large_and_near():
    images = made.images(2)
    content = to_onnx(made.detector(), "float16")
    assert len(content) < 0.62 * len(made_onnx.file())
    exact, found = (OnnxRunner(x).invoke(images) for x in (made_onnx.file(), content))
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, exact[name], atol=0.01)


def test_suppression_inside_is_ours():
    images = made.images(3)
    ours = OnnxRunner(made_onnx.file())(images)
    found = OnnxRunner(suppressed())(images)
    for some, more in zip(found, ours, strict=True):
        assert 20 < len(some) == len(more)
        np.testing.assert_allclose(some.scores, more.scores, atol=1e-6)
        np.testing.assert_allclose(some.boxes, more.boxes, atol=1e-5)
        np.testing.assert_array_equal(some.labels, more.labels)
    # Its heads are those before suppression.
    heads = Onnx(postprocess="nms").heads(suppressed(), images)
    exact = Onnx().heads(made_onnx.file(), images)
    for name, values in exact.items():
        np.testing.assert_array_equal(heads[name], values)


def test_the_thresholds_of_suppression_are_changed_at_the_end():
    facts = FileFacts("0.1", "ab", "letterbox", ("a", "b", "c"), 0.4, 5, None)
    shipped = OnnxRunner(with_facts(suppressed(), facts))
    assert shipped.facts == facts
    images = made.images(3)
    for some, more in zip(shipped(images), OnnxRunner(suppressed())(images), strict=True):
        wanted = first(more, 0.4, 5)
        np.testing.assert_array_equal(some.scores, wanted.scores)
        np.testing.assert_array_equal(some.labels, wanted.labels)


def test_the_order_follows_from_the_graph():
    model = onnx.load_from_string(made_onnx.file("int8", "raw"))
    before = model.SerializeToString(deterministic=True)
    rng = np.random.default_rng(0)
    for field in (model.graph.node, model.graph.initializer):
        entries = [field[i] for i in rng.permutation(len(field))]
        copies = [type(e).FromString(e.SerializeToString()) for e in entries]
        del field[:]
        field.extend(copies)
    assert model.SerializeToString(deterministic=True) != before
    order(model, {})
    # Metadata and all names are as they were.
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"symmetric": True}, "symmetric: expected int8, got float32"),
        (
            {"postprocess": "nms", "dynamic_batch": True},
            "dynamic_batch: expected postprocess decoded or raw, got nms",
        ),
        ({"quantization": "int8", "symmetric": True}, "symmetric: expected calibration images, got none"),
    ],
)
def test_mistakes_are_told(wrong, told):
    with pytest.raises(MkdError, match=told):
        to_onnx(made.detector(), **wrong)


def test_names_of_files():
    assert Onnx("int8", "nms", symmetric=True).suffix() == "int8_symmetric_nms.onnx"
    assert Onnx(postprocess="nms", max_detections=7).suppression() == (None, 7)
    assert Onnx().suppression() is None


def has_vnni() -> bool:
    """Whether the processor adds products of bytes without saturating at 16 bits."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and "vnni" in info.read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [made_onnx.file, suppressed, symmetric], ids=["float32", "nms", "symmetric"])
def test_openvino_compiles_and_agrees(make):
    openvino = pytest.importorskip("openvino", reason="no openvino: pip install openvino")
    core, images = openvino.Core(), made.images(1)
    model = core.read_model(make())
    # A processor with bfloat16 computes float32 files in it otherwise: scores were 0.008 apart.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    found = core.compile_model(model, "CPU", exact)(images.astype("float32"))
    expected = OnnxRunner(make()).invoke(images)
    for port, values in found.items():
        name = port.get_any_name()
        if name == "detection_classes":
            continue
        assert np.isfinite(values).all()
        if make is symmetric and not has_vnni():
            continue  # Its kernels saturate there, see docs/exporting.md.
        error = np.abs(values[: len(expected[name])] - expected[name])
        # Integers are rounded in other places; with AMX more of them than with AVX-512.
        assert error.max() < (0.3 if make is symmetric else 1e-3)
        assert error.mean() < (0.06 if make is symmetric else 1e-4)


def test_names_of_any_script_come_back():
    names = ("猫", "كلب", "собака é")
    detector = mkd_tf.Tiny(64, names, widths=(4, 4, 4, 4), pyramid=4, tower=0, block="plain")
    assert OnnxRunner(to_onnx(detector)).class_names == names
