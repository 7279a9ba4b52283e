"""ONNX files against the detector, the TFLite file and a slow decoding; what they say; what is refused."""

import functools
import json

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mkd_tf.checks import MkdError
from mkd_tf.compression import CompressedDetector
from mkd_tf.conversion.onnx import OPSETS
from mkd_tf.conversion.onnx import convert as onnx_convert
from mkd_tf.conversion.onnx.convert import to_onnx
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.conversion.tflite.convert import to_tflite
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from tests import harness
from tests.conversion import made
from tests.conversion.onnx import made_onnx
from tests.conversion.tflite import slow_decode


@functools.cache
def expected():
    return keras_heads(made.detector(), made.images(2))


def fractions():
    return made.detector().anchors.centers_and_sizes() / made.SIDE


def dims(entry):
    return [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]


def test_raw_heads_are_the_detectors():
    found = OnnxRunner(made_onnx.file(postprocess="raw")).invoke(made.images(2))
    scores = 1 / (1 + np.exp(-found["class_logits"]))
    np.testing.assert_allclose(found["box_encodings"], expected()["box_encodings"], atol=2e-5)
    np.testing.assert_allclose(scores, expected()["scores"], atol=2e-6)


def test_decoded_outputs_are_sigmoid_and_the_slow_decoding():
    found = OnnxRunner(made_onnx.file()).invoke(made.images(2))
    np.testing.assert_allclose(found["scores"], expected()["scores"], atol=2e-6)
    for boxes, encodings in zip(found["boxes"], expected()["box_encodings"], strict=True):
        np.testing.assert_allclose(boxes, slow_decode.decode(encodings, fractions()), atol=1e-5)


def test_a_head_of_zeros_gives_the_anchors_and_one_half():
    keras.utils.set_random_seed(0)
    detector = harness.build("tiny(size='student')", made.CLASSES)
    for layer in detector.core.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.use_bias and layer.trainable:
            layer.kernel.assign(np.zeros(layer.kernel.shape))
            layer.bias.assign(np.zeros(layer.bias.shape))
    found = OnnxRunner(to_onnx(detector)).invoke(made.images(1))
    np.testing.assert_allclose(found["boxes"][0], detector.anchors.normalized(), atol=1e-6)
    np.testing.assert_allclose(found["scores"], 0.5)


@pytest.mark.parametrize("postprocess", ["raw", "decoded"])
@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_the_opset_is_the_one_asked_for(opset, postprocess):
    content = to_onnx(made.detector(), postprocess=postprocess, opset=opset)
    (entry,) = [e for e in onnx.load_from_string(content).opset_import if not e.domain]
    assert entry.version == opset
    found = OnnxRunner(content)(made.images(2))
    for a, b in zip(found, OnnxRunner(made_onnx.file())(made.images(2)), strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_int8_is_the_tflite_file_up_to_rounding():
    """This detector's last kernels are 12 times as large, and so is what is left of rounding before them."""
    images = made.images(4)
    lite = TFLiteRunner(made.file("int8", "raw"))
    found = OnnxRunner(made_onnx.file("int8", "raw")).invoke(images)
    exact = made.detector().predict(images.astype("float32"), verbose=0)
    for name, values in found.items():
        reference = np.concatenate([lite.invoke(image)[name] for image in images])
        step = np.diff(np.unique(reference)).min()
        steps = (values - reference) / step
        assert np.abs(steps).max() < 6.5 and np.abs(steps).mean() < 0.8, name
        assert np.quantile(np.abs(steps), 0.99) < 3.5 and abs(steps.mean()) < 0.1, name
        assert np.unique(values).size <= 256, f"{name} was not quantised"
        error, lite_error = (np.abs(x - exact[name]).mean() for x in (values, reference))
        assert error < 1.1 * lite_error, f"{name}: further from the detector than the TFLite file"


def test_int8_decoded_is_int8_raw_decoded():
    images = made.images(2)
    raw = OnnxRunner(made_onnx.file("int8", "raw")).invoke(images)
    found = OnnxRunner(made_onnx.file("int8")).invoke(images)
    np.testing.assert_allclose(found["scores"], 1 / (1 + np.exp(-raw["class_logits"])), atol=1e-6)
    for boxes, encodings in zip(found["boxes"], raw["box_encodings"], strict=True):
        np.testing.assert_allclose(boxes, slow_decode.decode(encodings, fractions()), atol=1e-5)


def operators(content):
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


@functools.cache
def quantized() -> CompressedDetector:
    found = CompressedDetector(made.detector())
    found.prepare(made.images(16))
    return found


def test_a_float_file_of_what_emulates_int8_is_of_its_floats():
    images = made.images(2)
    content = to_onnx(quantized(), postprocess="raw")
    assert not operators(content) & {"QuantizeLinear", "DequantizeLinear"}
    exact = quantized().plain().predict(images.astype("float32"), verbose=0)
    for name, values in OnnxRunner(content).invoke(images).items():
        np.testing.assert_allclose(values, exact[name], atol=1e-4, err_msg=name)


def test_what_emulates_int8_brings_its_ranges():
    content = to_onnx(quantized(), "int8", "a folder that is not there", "raw")
    assert "QuantizeLinear" in operators(content)
    images = made.images(2)
    lite = TFLiteRunner(to_tflite(quantized(), "int8", None, "raw"))
    for name, values in OnnxRunner(content).invoke(images).items():
        reference = np.concatenate([lite.invoke(image)[name] for image in images])
        step = np.diff(np.unique(reference)).min()
        assert np.abs(values - reference).max() / step < 6.5, name


def test_int8_has_integer_weights_and_bytes_as_input():
    model = onnx.load_from_string(made_onnx.file("int8"))
    kinds = {t.data_type: 0 for t in model.graph.initializer}
    for tensor in model.graph.initializer:
        kinds[tensor.data_type] += int(np.prod(tensor.dims))
    weights = sum(v.shape.num_elements() for v in made.detector().inference().trainable_variables)
    assert kinds[TensorProto.INT8] > 0.9 * weights
    assert kinds[TensorProto.FLOAT] < 0.2 * weights
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    ops = [node.op_type for node in model.graph.node]
    assert ops.count("QuantizeLinear") > 20 and ops.count("DequantizeLinear") > 40
    assert len(made_onnx.file("int8")) < 0.45 * len(made_onnx.file())


def test_shapes_are_static_unless_asked_for():
    count = len(made.detector().anchors)
    graph = onnx.load_from_string(made_onnx.file()).graph
    assert {e.name: dims(e) for e in (*graph.input, *graph.output)} == {
        "images": [1, made.SIDE, made.SIDE, 3],
        "boxes": [1, count, 4],
        "scores": [1, count, made.CLASSES],
    }
    graph = onnx.load_from_string(made_onnx.file(dynamic_batch=True)).graph
    assert {dims(e)[0] for e in (*graph.input, *graph.output)} == {"batch"}


def test_a_dynamic_batch_is_its_images_one_by_one():
    images = made.images(3)
    together = OnnxRunner(made_onnx.file(dynamic_batch=True)).invoke(images)
    single = OnnxRunner(made_onnx.file()).invoke(images)
    for name, values in together.items():
        np.testing.assert_allclose(values, single[name], atol=1e-5)


def test_what_the_file_says_of_itself():
    labels = ["Zelle ä", 'with "quotes"', "c"]
    content = to_onnx(made.detector(), labels=labels, fit="letterbox", postprocess="raw")
    model = onnx.load_from_string(content)
    facts = {p.key: p.value for p in model.metadata_props}
    assert json.loads(facts["class_names"]) == labels
    assert facts["image_size"] == str(made.SIDE) and facts["fit"] == "letterbox"
    assert json.loads(facts["box_encoding_scales"]) == [10, 10, 5, 5]
    np.testing.assert_array_equal(
        np.array(json.loads(facts["anchors"]), "float32"), fractions().astype("float32")
    )
    assert "anchors" not in {p.key for p in onnx.load_from_string(made_onnx.file()).metadata_props}
    assert model.graph.name == made.detector().name


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"opset": 12}, "opset: expected one of 13, 14, 15, 16, 17, 18, got 12"),
        ({"opset": 19}, "opset: .* got 19"),
        ({"quantization": "int4"}, "quantization: expected one of float32, float16, int8"),
        ({"postprocess": "detection"}, "postprocess: expected one of decoded, raw, nms"),
        ({"fit": "crop"}, "fit: expected one of stretch, letterbox"),
        ({"quantization": "int8", "dynamic_batch": True}, "dynamic_batch: expected float32, got int8"),
        ({"quantization": "int8"}, "int8: expected calibration images, got none"),
        ({"quantization": "int8", "calibration": []}, "calibration: expected at least one image"),
        ({"labels": ["one"]}, "labels: expected a list of 3 labels"),
    ],
)
def test_mistakes_are_told(wrong, told):
    with pytest.raises(MkdError, match=told):
        to_onnx(made.detector(), **wrong)


def test_an_op_without_an_onnx_form_is_told(monkeypatch):
    node = helper.make_node("ResizeNearestNeighborOfTomorrow", ["images"], ["class_logits"])
    ports = [helper.make_tensor_value_info(n, 1, [1]) for n in ("images", "class_logits")]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    monkeypatch.setattr(onnx_convert, "_float_heads", lambda *_: model)
    with pytest.raises(MkdError, match="no valid ONNX form .*OfTomorrow"):
        to_onnx(made.detector(), postprocess="raw")
