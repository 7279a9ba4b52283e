"""Convolutions whose kernel is a function of their weights, for pruning and clustering.

tfmot's wrappers change variables whenever they are called: `PruneLowMagnitude` counts its step
and overwrites the kernel, also in evaluation, and counts three steps where a prediction
convolution is called on three levels; `ClusterWeights` puts a tensor of the last trace in the
kernel's place, so that the kernel is no longer among the layer's weights. Here a call only reads
variables: its result does not depend on how often the model was called before.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from mkd_tf.checks import fail


class ComputedKernel:
    """Mixin of a wrapper that convolves with `computed_kernel()` in place of `self.layer.kernel`."""

    layer: tf_keras.layers.Conv2D

    def computed_kernel(self) -> tf.Tensor:
        """Returns the kernel that the layer computes with, of the shape of `layer.kernel`."""
        raise NotImplementedError

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = self.layer.convolution_op(inputs, self.computed_kernel())
        if self.layer.use_bias:
            outputs += self.layer.bias
        return self.layer.activation(outputs)

    def plain_weights(self) -> list[np.ndarray]:
        """Returns the inner layer's weights with the computed kernel in the kernel's place."""
        kernel = self.layer.kernel
        return [(self.computed_kernel() if w is kernel else w).numpy() for w in self.layer.weights]


def is_trained_convolution(layer: tf_keras.layers.Layer) -> bool:
    """Returns whether the layer is a plain convolution with a trained kernel.

    A depthwise convolution has 9 weights per channel and no other input to make up for lost
    ones: tfmot neither prunes nor clusters it. The convolution that computes an expectation
    is not trained.
    """
    return type(layer) is tf_keras.layers.Conv2D and layer.trainable and layer.groups == 1


def wrapped(
    twin: tf_keras.Model, wrap: Callable[[tf_keras.layers.Conv2D], tf_keras.layers.Layer]
) -> tf_keras.Model:
    """Returns a copy of `twin` with its trained convolutions wrapped.

    Args:
      twin: a functional model; it shares no layer or variable with the copy.
      wrap: from a built copy of a layer, with its weights, to the layer in its place.

    Raises:
      MkdError: if there is nothing to wrap.
    """

    def copied(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        if not is_trained_convolution(layer):
            return copy
        with tf.name_scope(layer.name):
            copy.build((None, None, None, layer.kernel.shape[2]))
        # Before it is wrapped: clusters and sparsity are read from the weights.
        copy.set_weights(layer.get_weights())
        return wrap(copy)

    if not any(is_trained_convolution(layer) for layer in twin.layers):
        expected, do = "a model with trained Conv2D layers", "Give a student whose backbone is trained."
        fail(f"compression of {twin.name}", expected=expected, got="none", do=do)
    model = tf_keras.models.clone_model(twin, clone_function=copied)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, ComputedKernel):
            layer.set_weights(twin.get_layer(layer.name).get_weights())
    return model


def stripped(model: tf_keras.Model, twin: tf_keras.Model) -> tf_keras.Model:
    """Returns a plain model with the form of `twin` and the weights that `model` computes with.

    Args:
      model: of `wrapped`, trained since, or an average of such models.
      twin: the model that was wrapped, or one of the same layers, for example for batch 1.
    """
    computed = [layer for layer in model.layers if isinstance(layer, ComputedKernel)]
    found = {layer.name: layer.get_weights() for layer in model.layers}
    found |= {layer.layer.name: layer.plain_weights() for layer in computed}
    plain = tf_keras.models.clone_model(twin)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(found[layer.name])
    return plain
