"""The diagnosis: measures by hand, isolated errors against NumPy and Keras, a bad layer that is found."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.conversion.tflite.heads import tflite_heads
from mkd_tf.conversion.tflite.model_file import to_content, unpack
from mkd_tf.diagnosis.layer_errors import Diagnosis, Error, LayerError, compare, decibels, diagnose
from mkd_tf.diagnosis.layer_quantization import INPUT, Layer, Pair
from tests.conversion import made, made_broken


def relative(found, exact):
    """Slowly: the root of the ratio of two sums of squares."""
    noise = sum((a - b) ** 2 for a, b in zip(found.ravel().tolist(), exact.ravel().tolist(), strict=True))
    return math.sqrt(noise / sum(b**2 for b in exact.ravel().tolist()))


def by_name(diagnosis):
    return {error.layer.name: error for error in diagnosis.layers}


def test_relative_error_and_ratio_by_hand():
    error = Error()
    error.add(np.array([3.0, 0.0]), np.array([3.0, 0.0]))
    assert error.relative() == 0 and decibels(error.relative()) == math.inf
    error.add(np.array([0.0, 5.0]), np.array([0.0, 4.0]))
    # An error of 1 on signals of 3 and 4: 1 / 5, and 10 log10(25).
    assert error.relative() == pytest.approx(0.2)
    assert decibels(0.2) == pytest.approx(13.9794, abs=1e-4)
    silent = Error()
    silent.add(np.array([1.0]), np.array([0.0]))
    assert silent.relative() == math.inf


def test_hurt_and_prediction_by_hand():
    layer = Layer("a", "CONV_2D", "t", 0.1, 0)
    worse = LayerError(layer, 0.5, 0.5, class_logits=0.9, scores=0.6, box_encodings=0.8)
    better = LayerError(dataclasses.replace(layer, name="b"), 0.5, 0.5, 0.0, 0.8, 0.0)
    # The root of (0.36 + 0.64) / 2; logits do not count.
    assert worse.hurt == pytest.approx(math.sqrt(0.5))
    image = LayerError(dataclasses.replace(layer, name="input", operator=INPUT), 0, 0, 0, 0, 0)
    found = Diagnosis((worse, image, better), {}, 1)
    assert found.predicted == pytest.approx({"class_logits": 0.9, "scores": 1.0, "box_encodings": 0.8})
    assert found.worst(2) == ["a", "b"] and found.worst(1) == ["a"]


def test_the_bad_layer_is_the_worst():
    found = made_broken.diagnosis()
    worst, second = found.layers[:2]
    assert worst.layer.name == made_broken.BAD and worst.layer.operator == "CONV_2D"
    assert worst.hurt > 3 * second.hurt
    assert [e.hurt for e in found.layers] == sorted((e.hurt for e in found.layers), reverse=True)
    assert found.images == 4


def test_every_rounding_operator_is_there_once_and_no_other():
    names = [error.layer.name for error in made_broken.diagnosis().layers]
    assert len(set(names)) == len(names)
    assert {"input", "stem_conv", "stage2_add", "stage3_pool", "Sigmoid", "head_box@8x8"} <= set(names)
    # Reshapes and concatenations of equal grids round nothing, nor does nearest upsampling.
    assert not any(name.startswith(("head_box_all", "head_class3", "pyramid_up")) for name in names)


def test_errors_of_the_outputs_are_those_of_the_files():
    _, int8 = made_broken.files()
    images = made_broken.calibration().images[:4]
    expected, found = keras_heads(made_broken.detector(), images), tflite_heads(int8, images)
    total = made_broken.diagnosis().total
    for head in ("scores", "box_encodings"):
        assert total[head] == pytest.approx(relative(found[head], expected[head]), rel=1e-3)
    # Independent errors add up in squares: what was isolated explains the whole.
    for head, predicted in made_broken.diagnosis().predicted.items():
        assert 0.6 * total[head] < predicted < 1.6 * total[head], head


def test_the_sigmoid_alone_is_rounding_to_256_levels():
    images = made_broken.calibration().images[:4]
    scores = keras_heads(made_broken.detector(), images)["scores"]
    rounded = np.clip(np.rint(scores * 256), 0, 255) / 256
    error = by_name(made_broken.diagnosis())["Sigmoid"]
    assert error.isolated == pytest.approx(relative(rounded, scores), rel=1e-3)
    assert error.scores == pytest.approx(error.isolated, rel=1e-6)
    assert error.class_logits == 0 and error.box_encodings == 0


def test_a_convolution_alone_is_its_rounded_weights_and_its_rounded_output():
    """Against Keras: the head's float input, kernels rounded per channel, the output on its grid."""
    core = made_broken.detector().core
    head, name = core.get_layer("head_box"), "head_box@8x8"
    error = by_name(made_broken.diagnosis())[name]
    images = made_broken.calibration().images[:4].astype("float32") / 127.5 - 1
    before = keras.Model(core.input, core.get_layer("head_tower3_0_relu").output)(images, training=False)
    kernel, bias = head.kernel.numpy(), head.bias.numpy()
    scale = np.abs(kernel).max((0, 1, 2)) / 127
    int8 = np.rint(kernel / scale) * scale

    def output(weights):
        return keras.ops.convert_to_numpy(keras.ops.conv(before, weights, padding="same")) + bias

    step, zero = error.layer.step, error.layer.zero_point
    rounded = (np.clip(np.rint(output(int8) / step) + zero, -128, 127) - zero) * step
    assert error.isolated == pytest.approx(relative(rounded, output(kernel)), rel=0.02)
    assert error.scores == 0, "the boxes' head does not reach the scores"
    # Its own weights alone would be less, its own grid alone too.
    assert error.isolated > 1.02 * relative(output(int8), output(kernel))


def test_the_input_alone_is_half_a_level():
    """A byte p means p - 127 levels of 1 / 127.5, where its pixel is p - 127.5 of them."""
    images = made_broken.calibration().images[:4]
    exact = images.astype("float64") / 127.5 - 1
    error = by_name(made_broken.diagnosis())["input"]
    assert error.layer.operator == INPUT and error.layer.zero_point == -1
    assert error.isolated == pytest.approx(relative(exact + 0.5 / 127.5, exact), rel=1e-3)
    assert error.accumulated == pytest.approx(error.isolated, rel=1e-3)


def test_accumulated_errors_hold_those_before_them():
    found = by_name(made_broken.diagnosis())
    bad = found[made_broken.BAD].isolated
    after = found["stage4_a_conv"]
    assert after.accumulated > 2 * after.isolated
    assert found["stem_conv"].accumulated < 2 * found["stem_conv"].isolated + 0.02
    assert bad < found["stage3_add"].accumulated


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((0, 64, 64, 3), "uint8"), "at least one image in uint8, got 0"),
        (np.zeros((1, 64, 64, 3), "float32"), "got 1 in float32"),
        (np.zeros((1, 32, 32, 3), "uint8"), r"images: expected shape \[None, 64, 64, 3\]"),
    ],
)
def test_images_are_checked(images, told):
    with pytest.raises(MkdError, match=told):
        compare(made_broken.detector(), *made_broken.files(), images)


def test_files_of_two_models_are_refused():
    floats, int8 = made_broken.files()
    model = unpack(int8)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"other/" + tensor.name
    with pytest.raises(MkdError, match="expected an int8 file with the tensors of the float file, got none"):
        Pair(floats, to_content(model, len(int8)), [])


def test_a_detector_that_emulates_int8_is_refused(monkeypatch):
    monkeypatch.setattr(made.detector(), "is_quantized", True)
    with pytest.raises(MkdError, match="expected a float detector, got one that emulates int8"):
        diagnose(made.detector(), made_broken.calibration(), made.images(1))


def test_progress_is_reported():
    seen = []
    images = made_broken.calibration().images[:1]
    compare(made_broken.detector(), *made_broken.files(), images, lambda *x: seen.append(x))
    assert seen[0] == (1, len(seen)) and seen[-1] == (len(seen), len(seen))
