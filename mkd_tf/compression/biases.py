"""Biases of an emulated convolution, rounded as an integer file rounds them.

A file adds a convolution's bias as a whole number of steps of its sums: input step times
weight step. tfmot leaves biases in floats. The difference is at most half of such a step, a
few thousandths of a step of the output; but now and then it decides how a value is rounded,
and later layers spread that: of a real student's outputs every fourth was another integer.
"""

from collections.abc import Callable

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper

from mkd_tf.compression.twin import NearestUpsampleTwin

_LEVELS = 255
"""Steps in the range of an activation; weights leave out -128, and have one less."""

_KEEPS_RANGE = (
    NearestUpsampleTwin,
    tf_keras.layers.MaxPooling2D,
    tf_keras.layers.ZeroPadding2D,
    tf_keras.layers.Cropping2D,
    tf_keras.layers.Reshape,
    tf_keras.layers.Permute,
)
"""Layers that repeat, choose or move values, and so keep their integers."""

Range = dict[str, tf.Variable]


def emulate_biases(model: tf_keras.Model) -> None:
    """Lets every convolution with a frozen batch norm behind it add a whole number of steps.

    Depthwise convolutions stay as they are: their kernels have one step in the emulation, and
    one for each channel in the file. So do convolutions without a norm, the heads: nothing
    follows them that would spread a difference of one step.

    Args:
      model: quantised by tfmot; its norms are frozen.
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
    """Returns the layers whose outputs a layer takes at its first call."""
    found = layer.inbound_nodes[0].inbound_layers
    return found if isinstance(found, list) else [found]


def _range(layer: tf_keras.layers.Layer) -> Range | None:
    """Returns the variables that hold the range of a layer's output; None if it is not known."""
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
) -> Callable:
    """Returns `norm.call` with the rest added that makes its shift a whole number of steps."""
    whole = norm.call
    ((_, _, weights),) = convolution._weight_vars

    def call(inputs, training=None):
        # A norm without scale or centre has None there.
        factor = (1.0 if norm.gamma is None else norm.gamma) / tf.sqrt(norm.moving_variance + norm.epsilon)
        mean = norm.moving_mean
        if convolution.layer.use_bias:
            mean = mean - convolution.layer.bias
        bias = (0.0 if norm.beta is None else norm.beta) - mean * factor
        step = tf.abs(factor) * _step(weights, _LEVELS - 1) * _step(taken, _LEVELS)
        # A range that was not measured yet, and a channel without weights, have no step.
        rest = tf.where(step > 0, tf.round(tf.math.divide_no_nan(bias, step)) * step - bias, 0.0)
        return whole(inputs, training=training) + tf.stop_gradient(rest)

    return call
