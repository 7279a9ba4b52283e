"""Emulated biases are whole numbers of steps: by hand, behind pools and repetitions, and in a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from mkd_tf.compression.quantization import INPUT_RANGE, quantization_aware, seed_ranges
from mkd_tf.compression.twin import keras_twin
from mkd_tf.detection.layers import NearestUpsample
from tests import int8

SIDE = 8


def norm_model(*before: keras.layers.Layer, use_bias: bool = False) -> keras.Model:
    """A 1x1 convolution and a batch norm of known numbers, behind other layers."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for layer in before:
        x = layer(x)
    convolution = keras.layers.Conv2D(3, 1, use_bias=use_bias, name="sum")
    model = keras.Model(inputs, {"y": keras.layers.BatchNormalization(name="norm")(convolution(x))})
    # Kernels: 127 steps of 1/127, 2/127 and 4/127 for the three channels.
    kernel = np.eye(3) * [1.0, 2.0, 4.0]
    convolution.set_weights([kernel.reshape(1, 1, 3, 3), *([np.full(3, 0.5)] if use_bias else [])])
    norm = model.get_layer("norm")
    norm.epsilon = 0.0
    norm.set_weights(np.array([[1.0, -0.5, 2.0], [0.1, 0.2, -0.3], [0.0, 0.3, 0.1], [4.0, 1.0, 1.0]]))
    return model


def quantized(model: keras.Model) -> tf_keras.Model:
    found = quantization_aware(keras_twin(model, batch_size=1))
    # All levels are there: a convolution behind it has the input's range.
    ramp = np.linspace(*INPUT_RANGE, SIDE * SIDE * 3, dtype="float32")
    seed_ranges(found, [ramp.reshape(1, SIDE, SIDE, 3)])
    return found


def shift(model: tf_keras.Model, bias: float = 0.0) -> np.ndarray:
    """What the norm makes of a sum of 0 and the convolution's own bias, before its output is quantised."""
    return model.get_layer("quant_norm").layer.call(tf.fill((1, 1, 1, 3), bias)).numpy().reshape(3)


# gamma / sqrt(variance) is 1/2, -1/2 and 2.
FACTORS = np.array([0.5, -0.5, 2.0])
EXACT = np.array([0.1, 0.2, -0.3]) - np.array([0.0, 0.3, 0.1]) * FACTORS
KERNEL_STEPS = np.array([1.0, 2.0, 4.0]) / 127


def rounded(exact: np.ndarray, input_step: float) -> np.ndarray:
    step = np.abs(FACTORS) * KERNEL_STEPS * input_step
    return np.rint(exact / step) * step


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_shift_is_a_whole_number_of_steps(use_bias):
    found = shift(quantized(norm_model(use_bias=use_bias)), 0.5 * use_bias)
    exact = EXACT + 0.5 * FACTORS * use_bias
    expected = rounded(exact, 1 / 127.5)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    # By hand for the first channel: 0.1 / (0.5 / 127 / 127.5) = 3238.5 steps, with a bias 11334.75.
    step = 0.5 / 127 / 127.5
    assert found[0] / step == pytest.approx(11335 if use_bias else 3238, abs=1.01)
    assert np.abs(found - exact).max() > 1e-6


def test_what_repeats_values_keeps_their_steps():
    found = shift(quantized(norm_model(NearestUpsample())))
    np.testing.assert_allclose(found, rounded(EXACT, 1 / 127.5), atol=1e-7)


def test_a_pool_has_steps_of_its_own():
    model = quantized(norm_model(keras.layers.AveragePooling2D(2, name="pool")))
    bounds = {
        v.name.split("/")[-1]: float(v) for v in model.get_layer("quant_pool").weights if not v.shape.rank
    }
    step = (bounds["post_activation_max:0"] - bounds["post_activation_min:0"]) / 255
    assert step != pytest.approx(1 / 127.5, rel=1e-3)
    np.testing.assert_allclose(shift(model), rounded(EXACT, step), atol=1e-7)


def test_depthwise_convolutions_are_left_alone():
    depthwise = keras.layers.DepthwiseConv2D(1, use_bias=False, name="sum")
    x = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(x, {"y": keras.layers.BatchNormalization(name="norm")(depthwise(x))})
    norm = model.get_layer("norm")
    norm.epsilon = 0.0
    norm.set_weights(np.array([[1.0] * 3, [0.1234567] * 3, [0.0] * 3, [1.0] * 3]))
    np.testing.assert_allclose(shift(quantized(model)), 0.1234567, rtol=1e-6)


def test_a_range_that_is_not_known_leaves_the_bias_alone():
    # A sigmoid is quantised before it, at steps that are not those of what it returns.
    found = shift(quantized(norm_model(keras.layers.Activation("sigmoid", name="bent"))))
    np.testing.assert_allclose(found, EXACT, atol=1e-7)


@pytest.mark.parametrize("missing", ["scale", "center"])
def test_a_norm_may_lack_scale_or_centre(missing):
    x = keras.Input((SIDE, SIDE, 3))
    norm = keras.layers.BatchNormalization(name="norm", epsilon=0.0, **{missing: False})
    model = keras.Model(x, {"y": norm(keras.layers.Conv2D(3, 1, use_bias=False, name="sum")(x))})
    model.get_layer("sum").set_weights([np.eye(3).reshape(1, 1, 3, 3)])
    norm.set_weights(np.array([[0.25] * 3, [0.1] * 3, [1.0] * 3]))
    # Without a scale 0.25 is the centre; without a centre it is the scale.
    exact, factor = (0.25 - 0.1, 1.0) if missing == "scale" else (-0.1 * 0.25, 0.25)
    step = factor / 127 / 127.5
    np.testing.assert_allclose(shift(quantized(model)), np.rint(exact / step) * step, atol=1e-7)


def test_nothing_measured_yet_is_no_number_at_all_but_a_number():
    model = quantization_aware(keras_twin(norm_model()), input_range=(0.0, 0.0))
    np.testing.assert_allclose(shift(model), EXACT, atol=1e-6)


def test_a_file_has_the_same_biases():
    model = quantized(norm_model())
    interpreter = Interpreter(model_content=int8.int8_file(model, (1, SIDE, SIDE, 3)))
    interpreter.allocate_tensors()
    (bias,) = [
        t for t in interpreter.get_tensor_details() if t["dtype"] == np.int32 and t["shape"].tolist() == [3]
    ]
    values = interpreter.get_tensor(bias["index"]) * bias["quantization_parameters"]["scales"]
    np.testing.assert_allclose(values, shift(model), atol=1e-7)
