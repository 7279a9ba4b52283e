"""The tf_keras twin: the same function, the same layers, and the way back."""

import keras
import numpy as np
import pytest
import tf_keras

from mkd_tf.checks import MkdError
from mkd_tf.compression.twin import keras_twin, take_back
from tests import harness


def test_a_layer_without_a_twin_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, {"y": keras.layers.RMSNormalization(name="odd")(inputs)})
    with pytest.raises(MkdError, match="layer odd: expected a layer of Keras that tf_keras has too"):
        keras_twin(model)


def test_an_argument_without_a_twin_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, {"y": keras.layers.BatchNormalization(renorm=True, name="odd")(inputs)})
    with pytest.raises(MkdError, match="layer odd: expected renorm=False"):
        keras_twin(model)


def test_the_twin_trains_in_any_batch():
    core = harness.build("tiny").inference_core()
    twin = keras_twin(core)
    assert twin.input_shape == (None, harness.IMAGE_SIZE, harness.IMAGE_SIZE, 3)
    assert len(twin.trainable_weights) == len(core.trainable_weights)
    kernels = [w.name for w in twin.weights if w.name.startswith("head_class/")]
    assert kernels == ["head_class/kernel:0", "head_class/bias:0"], "a shared layer must stay one layer"


def test_the_way_back_gives_the_trained_weights():
    core = harness.build("tiny").core
    twin = keras_twin(core)
    for weight in twin.weights:
        weight.assign(weight + 0.25)
    before = {w.path: w.numpy() for w in core.weights}
    take_back(twin, core)
    for weight in core.weights:
        np.testing.assert_allclose(weight.numpy(), before[weight.path] + 0.25, atol=1e-6)


def test_the_way_back_wants_the_same_model():
    twin = keras_twin(harness.build("tiny(pyramid=8)").core)
    with pytest.raises(MkdError, match=r"layer pyramid_lateral5_conv: expected weights of the shapes"):
        take_back(twin, harness.build("tiny(pyramid=16)").core)


def test_activations_that_only_keras_3_has():
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 1, activation="hard_silu")(inputs)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(keras.layers.Activation("silu")(x))
    # tf_keras has another function of this name.
    x = keras.layers.Conv2D(3, 1, activation="hard_sigmoid")(x)
    model = keras.Model(inputs, {"y": keras.layers.Activation("hard_tanh", name="last")(x)})
    images = np.random.default_rng(0).normal(0, 3, (2, 4, 4, 2)).astype("float32")
    twin = keras_twin(model)
    wanted = np.asarray(model(images)["y"])
    np.testing.assert_allclose(twin(images)["y"], wanted, atol=1e-6)
    # tfmot copies its layers by their configurations.
    copied = tf_keras.models.clone_model(twin)
    copied.set_weights(twin.get_weights())
    np.testing.assert_allclose(copied(images)["y"], wanted, atol=1e-6)
