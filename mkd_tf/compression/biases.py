"""Rounds the biases of an emulated convolution as an integer file rounds them.

A file stores a convolution's bias as a whole number of steps of its sums; such a step is the
input's step times the weights' step. tfmot leaves biases in floats. The difference is at most
half of such a step, a few thousandths of a step of the output; but sometimes it decides how a
value is rounded, and later layers amplify that: one in four outputs of a real student was
another integer.
"""

from collections.abc import Callable

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

from mkd_tf.compression.twin import NearestUpsampleTwin

_LEVELS = 255
"""Steps in the range of an activation; weights do not use -128, and have one less."""

_KEEPS_RANGE = (
    NearestUpsampleTwin,
    tf_keras.layers.MaxPooling2D,
    tf_keras.layers.ZeroPadding2D,
    tf_keras.layers.Cropping2D,
    tf_keras.layers.Reshape,
    tf_keras.layers.Permute,
)
"""Layers that repeat, choose or move values: their output has the range of their input."""

Range = dict[str, tf.Variable]


def emulate_biases(model: tf_keras.Model) -> None:
    """Rounds the bias of every convolution that is followed by a frozen batch norm of tfmot's `model`.

    Depthwise convolutions are left alone: their kernels have one step in the emulation, and
    one per channel in the file. So are convolutions without a norm, the heads: no layer
    after them would amplify a difference of one step.
    """
    for layer in model.layers:
        if not isinstance(getattr(layer, "layer", None), tf_keras.layers.BatchNormalization):
            continue
        (convolution,) = _before(layer)
        if type(getattr(convolution, "layer", None)) is not tf_keras.layers.Conv2D:
            continue
        taken = _range(*_before(convolution))
        if taken is not None:
            layer.layer.call = _rounded(layer.layer, convolution, taken)


def _before(layer: tf_keras.layers.Layer) -> list[tf_keras.layers.Layer]:
    """Returns the layers whose outputs a layer takes in its first call."""
    found = layer.inbound_nodes[0].inbound_layers
    return found if isinstance(found, list) else [found]


def _range(layer: tf_keras.layers.Layer) -> Range | None:
    """Returns the variables that hold the range of a layer's output; None if it is unknown."""
    if isinstance(layer, QuantizeLayer):
        return layer.quantizer_vars
    if isinstance(layer, QuantizeWrapper):
        if layer._output_quantizers:
            return layer._output_quantizer_vars
        for activation in layer._quantize_activations:
            if activation._should_post_quantize():
                return activation._post_activation_vars
    if isinstance(getattr(layer, "layer", layer), _KEEPS_RANGE):
        return _range(*_before(layer))
    return None


def _step(bounds: Range, levels: int) -> tf.Tensor:
    return (bounds["max_var"] - bounds["min_var"]) / levels


def _rounded(
    norm: tf_keras.layers.BatchNormalization, convolution: QuantizeWrapper, taken: Range
) -> Callable[..., tf.Tensor]:
    """Returns `norm.call` plus the difference that makes its shift a whole number of steps."""
    whole = norm.call
    ((_, _, weights),) = convolution._weight_vars

    def call(inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        # A norm without scale or centre has None there.
        factor = (1.0 if norm.gamma is None else norm.gamma) / tf.sqrt(norm.moving_variance + norm.epsilon)
        mean = norm.moving_mean
        if convolution.layer.use_bias:
            mean = mean - convolution.layer.bias
        bias = (0.0 if norm.beta is None else norm.beta) - mean * factor
        step = tf.abs(factor) * _step(weights, _LEVELS - 1) * _step(taken, _LEVELS)
        # The step of an unmeasured range, and of a channel of zeros, is 0.
        rest = tf.where(step > 0, tf.round(tf.math.divide_no_nan(bias, step)) * step - bias, 0.0)
        return whole(inputs, training=training) + tf.stop_gradient(rest)

    return call
