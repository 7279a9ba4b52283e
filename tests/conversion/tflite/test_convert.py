"""TFLite files of every quantization: run, compared with the detector, held against the clients' contract."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers

from mkd_tf.checks import MkdError
from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.conversion.tflite import QUANTIZATIONS
from mkd_tf.conversion.tflite.heads import tflite_heads
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detection.postprocess import PostprocessConfig, select
from mkd_tf.evaluation.runners import KerasRunner
from tests.conversion import made
from tests.conversion.tflite.slow_decode import decode

FILES = [*((q, "detection") for q in QUANTIZATIONS), ("float32", "raw"), ("int8", "raw")]
# Largest and mean difference, in standard deviations of the head.
TOLERANCE = {
    "float32": (1e-4, 1e-5),
    "float16": (0.02, 0.002),
    "dynamic": (0.3, 0.03),
    "int8": (0.4, 0.03),
    "int16x8": (0.3, 0.02),
}


def model_of(content):
    return schema.ModelT.InitFromPackedBuf(content, 0)


def names(enumeration):
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def operators(model):
    known = names(schema.BuiltinOperator)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return [known[codes[o.opcodeIndex]] for o in model.subgraphs[0].operators]


@pytest.mark.parametrize(("quantization", "postprocess"), FILES)
def test_heads_are_those_of_the_detector(quantization, postprocess):
    images = made.images(6, seed=9)
    expected = keras_heads(made.detector(), images)
    assert expected["scores"].max() > 0.8, "a detector that sees nothing shows no difference"
    found = differences(tflite_heads(made.file(quantization, postprocess), images), expected)
    largest, mean = TOLERANCE[quantization]
    for name, difference in found.items():
        assert difference["max"] < largest * expected[name].std(), name
        assert difference["mean"] < mean * expected[name].std(), name
        assert quantization == "float32" or difference["max"] > 1e-5, "this is no quantized file"


@pytest.mark.parametrize(
    ("quantization", "postprocess"),
    [("float32", "detection"), ("float16", "detection"), ("float32", "raw"), ("int8", "raw")],
)
def test_detections_are_those_of_the_projects_own_postprocess(quantization, postprocess):
    """From one file's heads the custom op and `postprocess.py` find the same, best first.

    Not of integer files: their heads are read without a delegate, which rounds otherwise.
    """
    images = made.images(4, seed=9)
    content = made.file(quantization, postprocess)
    heads = tflite_heads(content, images)
    anchors = made.detector().anchors.centers_and_sizes() / made.SIDE
    for i, found in enumerate(TFLiteRunner(content)(images)):
        expected = select(heads["scores"][i], decode(heads["box_encodings"][i], anchors))
        assert 10 < len(found) == len(expected) <= 100
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_array_equal(found.labels, expected.labels)
        # Anchors are constants of the graph, and in a float16 file of that type.
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


def test_the_file_finds_what_the_detector_finds():
    images = made.images(4, seed=9)
    both = KerasRunner(made.detector())(images), TFLiteRunner(made.file("float32"))(images)
    for expected, found in zip(*both, strict=True):
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)


def test_thresholds_of_the_callers_own():
    config = PostprocessConfig(score_threshold=0.3, max_detections=12)
    images = made.images(6, seed=9)
    content = to_tflite(made.detector(), "float32", config=config)
    both = KerasRunner(made.detector(), config)(images), TFLiteRunner(content)(images)
    assert min(len(d) for d in both[0]) < 12 == max(len(d) for d in both[0])
    for expected, found in zip(*both, strict=True):
        assert len(found) == len(found.boxes) == len(found.scores) == len(expected)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize(("quantization", "postprocess"), FILES)
def test_one_static_image_and_one_signature(quantization, postprocess):
    model = model_of(made.file(quantization, postprocess))
    (signature,), graph = model.signatureDefs, model.subgraphs[0]
    expected = ["output_0", "output_1", "output_2", "output_3"]
    if postprocess == "raw":
        expected = ["box_encodings", "class_logits"]
    assert sorted(o.name.decode() for o in signature.outputs) == expected
    by_name = {o.name.decode(): o.tensorIndex for o in signature.outputs}
    if postprocess == "detection":
        # Old clients go by position: boxes, classes, scores, count, as the op gives them.
        assert list(graph.outputs) == [by_name[f"output_{i}"] for i in (3, 2, 1, 0)]
        assert list(graph.outputs) == list(graph.operators[-1].outputs)
    types, byte, real = names(schema.TensorType), "UINT8", "FLOAT32"
    tensors = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    assert [types[t.type] for t in tensors][0] == (byte if quantization == "int8" else real)
    assert {types[t.type] for t in tensors[1:]} == {real}
    assert list(tensors[0].shape) == [1, made.SIDE, made.SIDE, 3]
    assert len(model.subgraphs) == 1
    assert not any(t.shapeSignature is not None and (t.shapeSignature < 0).any() for t in graph.tensors)
    # Anything but these at the end would send the postprocess, or what follows, elsewhere.
    assert (operators(model)[-1] == "CUSTOM") == (postprocess == "detection")


def test_postprocess_attributes():
    model = model_of(made.file("int8"))
    custom = model.subgraphs[0].operators[-1]
    assert model.operatorCodes[custom.opcodeIndex].customCode == b"TFLite_Detection_PostProcess"
    found = flexbuffers.Loads(bytes(custom.customOptions))
    assert found.pop("nms_score_threshold") == pytest.approx(0.01)
    assert found.pop("nms_iou_threshold") == pytest.approx(0.6)
    assert (
        found.items()
        >= {
            "max_detections": 100,
            "max_classes_per_detection": 1,
            "use_regular_nms": True,
            "num_classes": made.CLASSES,
            "y_scale": 10.0,
            "x_scale": 10.0,
            "h_scale": 5.0,
            "w_scale": 5.0,
        }.items()
    )


def test_integer_core():
    """The core of the int8 file is int8 throughout, weights per channel, boxes and scores apart."""
    graph = model_of(made.file("int8")).subgraphs[0]
    kinds = operators(model_of(made.file("int8")))
    assert kinds[0] == "QUANTIZE" and kinds.count("DEQUANTIZE") == 2
    integer = (schema.TensorType.INT8, schema.TensorType.INT32)
    scales = []
    for kind, operator in zip(kinds[1:-1], graph.operators[1:-1], strict=True):
        taken = [graph.tensors[i] for i in operator.inputs]
        assert all(t.type in integer for t in taken), kind
        if kind == "CONV_2D":
            assert len(taken[1].quantization.scale) == taken[1].shape[0], "weights are not per channel"
        if kind == "DEQUANTIZE":
            scales.append(float(taken[0].quantization.scale[0]))
        else:
            assert graph.tensors[operator.outputs[0]].type == schema.TensorType.INT8
    assert len(set(scales)) == 2, "boxes and scores share a scale"


@pytest.mark.parametrize(("quantization", "step"), [("int8", 1 / 256), ("int16x8", 1 / 32768)])
def test_scores_keep_the_whole_range(quantization, step):
    """Not that of the calibration images: a better score would come out as the best of theirs."""
    graph = model_of(made.file(quantization)).subgraphs[0]
    producers = {i: o for o in graph.operators for i in o.outputs}
    joined = producers[graph.operators[-1].inputs[1]].inputs[0]
    assert graph.tensors[joined].quantization.scale[0] == pytest.approx(step)
    parts = [graph.tensors[i].quantization.scale[0] for i in producers[joined].inputs]
    assert parts == pytest.approx([step, step])


@pytest.mark.parametrize("quantization", ["float32", "int8", "int16x8"])
def test_background_is_zero_and_stands_first(quantization):
    content = made.file(quantization)
    graph = model_of(content).subgraphs[0]
    assert list(graph.tensors[graph.operators[-1].inputs[1]].shape)[-1] == made.CLASSES + 1
    found = tflite_heads(content, made.images(1))["scores"]
    expected = keras_heads(made.detector(), made.images(1))["scores"]
    assert np.abs(found - expected).max() < 0.25


def test_input_step_is_the_normalisation_though_no_image_is_black_or_white():
    grey = made.images(4) // 4 + 96
    content = to_tflite(made.detector(), "int8", Calibration(grey, ("a",) * 4), "raw")
    (entry,) = Interpreter(model_content=content).get_input_details()
    assert entry["quantization"][0] == pytest.approx(1 / 127.5, abs=1e-5)
    assert grey.min() > 90, "the images of the caller were changed"


def coral_objects(interpreter):
    """What `pycoral.adapters.detect.get_objects` reads, by its documented rules."""
    signatures = interpreter.get_signature_list()
    if len(signatures) > 1:
        raise ValueError("Only support model with one signature.")
    outputs = interpreter._get_full_signature_list()[next(iter(signatures))]["outputs"]
    count = int(interpreter.get_tensor(outputs["output_0"])[0])
    scores, labels, boxes = (interpreter.get_tensor(outputs[f"output_{i}"])[0] for i in (1, 2, 3))
    return [(int(labels[i]), float(scores[i]), boxes[i]) for i in range(count) if scores[i] >= 0.3]


def test_corals_client_reads_it():
    interpreter = Interpreter(model_content=made.file("int8"))
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    assert entry["dtype"] == np.uint8
    image = made.images(1, seed=9)
    interpreter.tensor(entry["index"])()[0] = image[0]
    interpreter.invoke()
    found = coral_objects(interpreter)
    (expected,) = TFLiteRunner(made.file("int8"))(image)
    expected = expected.above(0.3)
    assert len(found) == len(expected) > 5
    for (label, score, box), i in zip(found, range(len(expected)), strict=True):
        assert label == expected.labels[i] and score == expected.scores[i]
        np.testing.assert_array_equal(np.clip(box, 0, 1), expected.boxes[i])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"quantization": "int4"}, "expected one of float32, float16, dynamic, int8, int16x8, got 'int4'"),
        ({"postprocess": "nms"}, "postprocess: expected one of detection, raw"),
        ({"quantization": "int8"}, "int8: expected calibration images, got none"),
        ({"calibration": []}, "calibration: expected at least one image, got an empty set"),
        ({"calibration": np.zeros((2, 32, 32, 3), "uint8")}, r"uint8 \[K, 64, 64, 3\], got uint8 \[2, 32"),
        ({"calibration": np.zeros((2, 64, 64, 3), "float32")}, "got float32"),
        ({"calibration": np.zeros((2, 64, 64, 3), "uint8"), "calibration_images": 0}, "calibration_images: "),
        ({"labels": ["a", "b"], "quantization": "float32"}, "expected a list of 3 labels.*got 2"),
        ({"labels": "abc", "quantization": "float32"}, "got one string"),
        ({"labels": ["a", "b", "c\nd"], "quantization": "float32"}, "labels of one line"),
        ({"labels": ["a", "b", " "], "quantization": "float32"}, "labels of one line"),
        ({"labels": ["a", "b", "c\u2028d"], "quantization": "float32"}, r"one line, got 'c\\u2028d'"),
        ({"labels": ["a", "b", "c\ud800"], "quantization": "float32"}, "labels of one line"),
    ],
)
def test_mistakes_are_told(arguments, told):
    with pytest.raises(MkdError, match=told):
        to_tflite(made.detector(), **arguments)


def test_progress_is_reported_and_the_detector_is_left_as_it_was():
    before = [v.numpy().copy() for v in made.detector().variables]
    seen = []
    three = Calibration(made.images(3), ("a", "b", "c"))
    to_tflite(made.detector(), "int8", three, on_progress=lambda *x: seen.append(x))
    assert seen[:3] == [(1, 3), (2, 3), (3, 3)]
    for variable, value in zip(made.detector().variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
