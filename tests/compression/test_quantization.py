"""Quantisation-aware training: ranges by hand, frozen norms, refusals, and the way back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mkd_tf.checks import MkdError
from mkd_tf.compression.quantization import RANGE_DECAY, float_weights, quantization_aware, seed_ranges
from mkd_tf.compression.twin import keras_twin, learning
from mkd_tf.detection.layers import conv_bn

SIDE = 8


def identity_model() -> keras.Model:
    """Passes its input on through a 1x1 convolution: the output's range is the input's."""
    inputs = keras.Input((SIDE, SIDE, 3))
    convolution = keras.layers.Conv2D(3, 1, name="same")
    model = keras.Model(inputs, {"y": convolution(inputs)})
    convolution.kernel.assign(np.eye(3).reshape(1, 1, 3, 3))
    return model


def filled(low: float, high: float) -> np.ndarray:
    """One image whose values run from `low` to `high`."""
    return np.linspace(low, high, SIDE * SIDE * 3, dtype="float32").reshape(1, SIDE, SIDE, 3)


def output_range(model: tf_keras.Model) -> tuple[float, float]:
    scalars = [v for v in model.get_layer("quant_same").weights if v.shape.rank == 0]
    found = {v.name.split("/")[-1]: float(v) for v in scalars}
    return found["post_activation_min:0"], found["post_activation_max:0"]


def test_seeded_ranges_are_the_extremes_of_the_batches():
    model = quantization_aware(keras_twin(identity_model()))
    seed_ranges(model, [filled(-0.2, 0.6), filled(-0.4, 0.2), filled(-0.6, 1.0)])
    # Within a step of the input's integers; the -6..6 that tfmot begins with is gone.
    np.testing.assert_allclose(output_range(model), (-0.6, 1.0), atol=1 / 127)


def test_ranges_widen_at_once_and_shrink_slowly():
    model = quantization_aware(keras_twin(identity_model()))
    seed_ranges(model, [filled(-0.25, 0.25)])
    step = tf.function(lambda x: model(x, training=True))
    step(tf.constant(filled(-0.5, 0.75)))
    np.testing.assert_allclose(output_range(model), (-0.5, 0.75), atol=1 / 127)
    for _ in range(10):
        step(tf.constant(filled(-0.25, 0.25)))
    kept = RANGE_DECAY**10
    expected = (-0.5 * kept - 0.25 * (1 - kept), 0.75 * kept + 0.25 * (1 - kept))
    np.testing.assert_allclose(output_range(model), expected, atol=1 / 127)
    assert output_range(model)[1] < 0.75


def test_evaluation_changes_no_range():
    model = quantization_aware(keras_twin(identity_model()))
    seed_ranges(model, [filled(-0.25, 0.25)])
    before = [v.numpy() for v in model.variables]
    model(filled(-1.0, 1.0), training=False)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_emulation_rounds_as_integers_do():
    model = quantization_aware(keras_twin(identity_model()))
    seed_ranges(model, [filled(-1.0, 1.0)])
    image = filled(-1.0, 1.0)
    # Input and output have steps of 2 / 255 from about -1: at most half a step each is lost.
    error = np.abs(model(image, training=False)["y"].numpy() - image)
    assert 0.3 * 2 / 255 < error.max() < 1.1 * 2 / 255


def test_no_calibration_image_is_an_error():
    with pytest.raises(MkdError, match="seed_ranges: expected at least one batch, got none"):
        seed_ranges(quantization_aware(keras_twin(identity_model())), [])


def normed() -> keras.Model:
    inputs = keras.Input((SIDE, SIDE, 3))
    return keras.Model(inputs, {"y": conv_bn(inputs, 4, "a")})


def test_batch_norms_are_frozen():
    model = quantization_aware(keras_twin(normed()))
    before = {v.name: v.numpy() for v in model.variables}
    assert [v.name for v in learning(model)] == ["a_conv/kernel:0"]
    model(filled(0.0, 1.0), training=True)
    norms = [v for v in model.variables if "moving" in v.name or "gamma" in v.name or "beta" in v.name]
    assert len(norms) == 4
    for variable in norms:
        np.testing.assert_array_equal(variable.numpy(), before[variable.name])


def test_the_way_back_keeps_every_weight():
    source = normed()
    twin = keras_twin(source)
    model = quantization_aware(twin)
    # A call replaces the layer's kernel by its quantised form; the variable stays.
    model(filled(0.0, 1.0), training=True)
    for variable in learning(model):
        variable.assign_add(tf.fill(variable.shape, 0.125))
    expected = [w.numpy() + 0.125 * ("kernel" in w.name) for w in twin.weights]
    float_weights(model, twin)
    for found, value in zip(twin.weights, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), value, atol=1e-6, err_msg=found.name)


def test_a_layer_that_cannot_be_quantised_is_named():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = conv_bn(inputs, 4, "a")
    model = keras.Model(inputs, {"y": keras.layers.Multiply(name="gate")([x, x])})
    with pytest.raises(MkdError, match="layer gate: expected a layer that tfmot can quantise.*got Multiply"):
        quantization_aware(keras_twin(model))


def test_an_activation_that_cannot_be_quantised_is_named():
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, {"y": keras.layers.Conv2D(4, 1, activation="hard_silu", name="odd")(inputs)})
    told = "layer odd: expected one of the activations gelu, .*, got hard_silu. Build the student with"
    with pytest.raises(MkdError, match=told):
        quantization_aware(keras_twin(model))
    # As a layer of its own, behind one that tfmot can quantise.
    x = keras.layers.Activation("relu6")(keras.layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, {"y": keras.layers.Activation("mish", name="odd")(x)})
    with pytest.raises(MkdError, match="layer odd: expected one of the activations .*, got mish"):
        quantization_aware(keras_twin(model))


def test_a_lone_batch_norm_is_named():
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, {"y": keras.layers.BatchNormalization(name="alone")(inputs)})
    with pytest.raises(MkdError, match="layer alone: .*batch norms behind a convolution"):
        quantization_aware(keras_twin(model))


def test_average_pooling_becomes_a_fixed_convolution():
    inputs = keras.Input((SIDE, SIDE, 3))
    pool = keras.layers.AveragePooling2D(2, padding="same", name="pool")
    model = quantization_aware(keras_twin(keras.Model(inputs, {"y": pool(inputs)})))
    seed_ranges(model, [filled(-1.0, 1.0)])
    image = filled(-1.0, 1.0)
    expected = image.reshape(1, SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(2, 4))
    found = model(image, training=False)["y"].numpy()
    np.testing.assert_allclose(found, expected, atol=2.1 / 255)
    assert not model.get_layer("quant_pool").trainable


def check_pool(sides: tuple[int, ...], is_padded: bool, **options) -> None:
    """Emulates one pool on maps of these sides: a fixed convolution unless padded, and the twin's values."""
    pool = keras.layers.AveragePooling2D(name="pool", **options)
    inputs = keras.Input((max(sides), max(sides), 3))
    # The sides differ by one convolution, for tfmot knows no cropping.
    maps = [keras.layers.Conv2D(3, max(sides) - side + 1, name=f"to{side}")(inputs) for side in sides]
    twin = keras_twin(keras.Model(inputs, {f"y{x.shape[1]}": pool(x) for x in maps}))
    model = quantization_aware(twin)
    image = np.random.default_rng(0).uniform(-1, 1, (2, max(sides), max(sides), 3)).astype("float32")
    seed_ranges(model, [image])
    kind = tf_keras.layers.AveragePooling2D if is_padded else tf_keras.layers.DepthwiseConv2D
    assert type(model.get_layer("quant_pool").layer) is kind
    expected, found = twin(image), model(image, training=False)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=0.02 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize(
    ("side", "size", "stride", "is_padded"),
    [
        (8, 2, 2, False),
        (9, 2, 2, True),
        (8, 3, 2, True),
        (8, 3, 1, True),
        (8, 2, 1, True),
        (9, 3, 3, False),
        (8, (2, 3), 2, True),
        # A gap between cells that are all whole: the side is no multiple of the stride, and nothing is added.
        (8, 2, 3, False),
    ],
)
def test_same_padding_averages_as_the_twin_does_at_the_border(side, size, stride, is_padded):
    check_pool((side,), is_padded, pool_size=size, strides=stride, padding="same")


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 1)])
def test_valid_pools_have_no_border(size, stride):
    check_pool((8,), False, pool_size=size, strides=stride)


@pytest.mark.parametrize(("sides", "is_padded"), [((8, 6), False), ((8, 7), True)])
def test_a_pool_of_two_maps_is_padded_if_it_is_on_one(sides, is_padded):
    check_pool(sides, is_padded, pool_size=2, padding="same")
