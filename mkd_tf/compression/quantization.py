"""Quantisation-aware training: int8 is emulated in every layer; gradients pass straight through.

The scheme is tfmot's (Jacob et al., CVPR 2018), with changes for a short run on a small detector:

    ranges    tfmot starts every activation at -6..6 and moves it by 0.1 % a step: after 500
              steps an output of deviation 0.15 was still quantised as -3.75..3.75. Here
              `seed_ranges` measures them on calibration images first, and in training they
              widen at once and shrink slowly.
    norms     batch norms are frozen. The statistics are the trained student's, and the
              integer file folds them into its convolutions as they were in training.
    biases    are whole numbers of steps, as in the integer file: `compression.biases`.

A range's decay is replaced in `QuantizeWrapper._output_quantizers` and
`_quantize_activations`, which are private: a new tfmot must pass this file's tests first.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_scheme,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapper
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    FixedQuantizer,
    MovingAverageQuantizer,
)

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.compression.biases import emulate_biases
from mkd_tf.compression.preserving import (
    ClustersQuantizer,
    PreservingScheme,
    SparsityQuantizer,
    computed_kernel,
    last_name,
)
from mkd_tf.compression.twin import NearestUpsampleTwin

RANGE_DECAY = 0.999
"""Decay of an activation's range per step: it shrinks by half within 693 steps, and widens at once."""

POOL_MARGIN = 1.01
"""A pool's range over that of its values: it keeps means of integers from lying halfway between others."""

INPUT_RANGE = (-128 / 127.5, 127 / 127.5)
"""Of pixels in steps of 1/127.5, one of which is 0, as integers need it; see `on_integers`."""

PRESERVES = ("nothing", "sparsity", "clusters")
# Those that tfmot can quantise.
_ACTIVATIONS = ("gelu", "linear", "relu", "sigmoid", "softmax", "swish", "tanh")


class KeepRange(default_8bit_quantize_configs.NoOpQuantizeConfig):
    """Quantises nothing: repetition keeps the values of its input, hence their range.

    A quantizer of its own could learn another range, and TFLite would then add a
    QUANTIZE before the resize, whose input and output must share one scale.
    """


class ProbabilityRange(default_8bit_quantize_configs.NoOpQuantizeConfig):
    """Quantises a softmax's output to steps of 1/256, the only ones its int8 kernel has."""

    def get_output_quantizers(self, layer: tf_keras.layers.Layer) -> list[FixedQuantizer]:
        return [FixedQuantizer(num_bits=8, init_min=0.0, init_max=255 / 256, narrow_range=False)]


class FollowingQuantizer(MovingAverageQuantizer):
    """A range that contains all recent values: it widens at once and shrinks slowly.

    tfmot's moving average tends to the mean of the batches' extremes and clips larger values.
    In a detector's logits these are its most confident detections, whose order is then lost:
    that alone took a student from 43.99 to 42.87 AP, before any step.
    """

    def __init__(self, like: MovingAverageQuantizer, decay: float, margin: float = 1.0):
        super().__init__(like.num_bits, like.per_axis, like.symmetric, like.narrow_range)
        self.decay, self.margin = decay, margin

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> tf.Tensor:
        low, high = weights["min_var"], weights["max_var"]
        if training:
            # Zero is always included: it has to be an integer, since padding needs it.
            least = tf.minimum(tf.reduce_min(inputs), 0.0) * self.margin
            most = tf.maximum(tf.reduce_max(inputs), 0.0) * self.margin
            low.assign(tf.minimum(least, self.decay * low + (1 - self.decay) * least))
            high.assign(tf.maximum(most, self.decay * high + (1 - self.decay) * most))
            self.decay = self.decay or 1.0  # `seed_ranges`: after the first batch a range only widens.
        return tf.quantization.fake_quant_with_min_max_vars(
            inputs, low, high, num_bits=self.num_bits, narrow_range=self.narrow_range
        )


QUANTIZE_CONFIGS: dict[type, type] = {
    NearestUpsampleTwin: KeepRange,
    tf_keras.layers.Softmax: ProbabilityRange,
}


# tf_keras converts the call of every layer that it builds; none here branches on a tensor.
@tf.autograph.experimental.do_not_convert
def quantization_aware(
    twin: tf_keras.Model,
    preserve: str = "nothing",
    input_range: tuple[float, float] = INPUT_RANGE,
    clusters: int = 0,
) -> tf_keras.Model:
    """Returns a copy of `twin` that emulates int8 and can be trained.

    Ranges are placeholders until `seed_ranges`, except the input's. Batch norms are frozen.

    Args:
      twin: of `keras_twin`; no layer of it called twice but bias-only convolutions.
      preserve: `sparsity` keeps zeros of the kernels zero, `clusters` their shared values.
      input_range: the values of the integers -128 and 127 of the input.
      clusters: how many values a clustered kernel has.

    Raises:
      MkdError: for a layer that tfmot cannot quantise, by its name and type.
    """
    check_one_of("preserve", preserve, PRESERVES)
    scheme = default_8bit_quantize_scheme.Default8BitQuantizeScheme()
    if preserve != "nothing":
        quantizer = SparsityQuantizer() if preserve == "sparsity" else ClustersQuantizer(clusters)
        scheme = PreservingScheme(quantizer)

    def annotate(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.AveragePooling2D):
            return _pooling_convolution(layer)
        config = QUANTIZE_CONFIGS.get(type(layer))
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config()) if config else layer

    with tfmot.quantization.keras.quantize_scope({c.__name__: c for c in QUANTIZE_CONFIGS.values()}):
        annotated = tf_keras.models.clone_model(twin, clone_function=annotate)
        annotated = tfmot.quantization.keras.quantize_annotate_model(annotated)
        try:
            model = tfmot.quantization.keras.quantize_apply(annotated, scheme)
        except (RuntimeError, ValueError) as error:
            _fail_on_layer(twin, error)
    for layer in model.layers:
        # tfmot starts the input at 0..0, which would make every image black in the file.
        if isinstance(layer, QuantizeLayer):
            layer.quantizer_vars["min_var"].assign(input_range[0])
            layer.quantizer_vars["max_var"].assign(input_range[1])
        # A frozen norm uses its stored statistics in training too.
        if isinstance(getattr(layer, "layer", layer), tf_keras.layers.BatchNormalization):
            layer.trainable = False
    _follow(model)
    emulate_biases(model)
    return model


def _pooling_convolution(layer: tf_keras.layers.AveragePooling2D) -> tf_keras.layers.Layer:
    """Returns a fixed depthwise convolution that averages as `layer` does.

    The integer average pooling keeps its input's scale: means of four integers lie halfway
    between two of them every fourth time, where its kernel and the emulation round
    differently (a real student's outputs were up to 6 steps apart). A convolution has a
    scale of its own (`POOL_MARGIN`), and is faster.
    """
    shapes = [layer.get_input_shape_at(node) for node in range(len(layer.inbound_nodes))]
    if layer.padding == "same" and any(_is_padded(layer, shape) for shape in shapes):
        return layer  # Its border averages fewer.
    return tf_keras.layers.DepthwiseConv2D(
        layer.pool_size,
        strides=layer.strides,
        padding=layer.padding,
        use_bias=False,
        depthwise_initializer=tf_keras.initializers.Constant(1 / math.prod(layer.pool_size)),
        trainable=False,
        name=layer.name,
    )


def _is_padded(layer: tf_keras.layers.AveragePooling2D, shape: tuple) -> bool:
    """Returns whether padding `same` adds cells to a map `[B, H, W, C]` of this shape."""
    axes = zip(shape[1:3], layer.strides, layer.pool_size, strict=True)
    return any((math.ceil(side / stride) - 1) * stride + cell > side for side, stride, cell in axes)


def on_integers(scaling: tuple[float, float]) -> tuple[float, float]:
    """Returns factor and offset with which every whole pixel value is exactly an integer's value.

    0 is the value of an integer: pixels (p - 127.5) / 127.5 all lie halfway between two such
    values, and rounding would decide between them. The integer file takes (p - 128) / 127.5.
    """
    factor, offset = scaling
    return factor, round(offset / factor) * factor


def _fail_on_layer(twin: tf_keras.Model, error: Exception) -> NoReturn:
    """Raises the `MkdError` that names the layer which tfmot's message mentions."""
    text = str(error)
    refused = [layer for layer in twin.layers if re.search(rf"\b{re.escape(layer.name)}\b", text)]
    # Of an activation its message tells no layer.
    other = {
        layer: getattr(getattr(layer, "activation", None), "__name__", "linear") for layer in twin.layers
    }
    activations = [layer for layer, name in other.items() if name not in _ACTIVATIONS]
    if not refused and activations and "ctivation" in text:
        # Of a layer that is an activation it tells the function; layers of others may be fine.
        told = [layer for layer in activations if re.search(rf"\b{re.escape(other[layer])}\b", text)]
        layer = (told or activations)[0]
        fail(
            f"quantisation-aware training: layer {layer.name}",
            expected=f"one of the activations {', '.join(_ACTIVATIONS)}",
            got=other[layer],
            do="Build the student with one of these, or leave out --compress=qat and export with int8.",
        )
    if not refused:
        raise MkdError(f"quantisation-aware training of {twin.name}: tfmot refused it ({text})") from None
    where = f"quantisation-aware training: layer {refused[0].name}"
    expected = "a layer that tfmot can quantise, and batch norms behind a convolution of their own"
    do = (
        "Build the student without it, or leave out --compress=qat and export with --quantization=int8, "
        "which calibrates after training."
    )
    fail(where, expected=expected, got=type(refused[0]).__name__, do=do)


def _follow(model: tf_keras.Model) -> None:
    """Replaces the quantizer of every activation by a `FollowingQuantizer`."""

    def following(quantizer: Any, margin: float) -> Any:
        if type(quantizer) is MovingAverageQuantizer:
            return FollowingQuantizer(quantizer, RANGE_DECAY, margin)
        return quantizer

    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            # Without a margin, a pool and its input would have the same scale where both saturate.
            is_pool = isinstance(layer.layer, tf_keras.layers.DepthwiseConv2D) and not layer.layer.trainable
            margin = POOL_MARGIN if is_pool else 1.0
            layer._output_quantizers = [following(q, margin) for q in layer._output_quantizers or ()]
            for activation in layer._quantize_activations:
                activation.quantizer = following(activation.quantizer, margin)


def _followers(model: tf_keras.Model) -> Iterator[FollowingQuantizer]:
    for layer in model.layers:
        if isinstance(layer, QuantizeWrapper):
            found = [*layer._output_quantizers, *(a.quantizer for a in layer._quantize_activations)]
            yield from (q for q in found if isinstance(q, FollowingQuantizer))


def seed_ranges(model: tf_keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Sets every activation's range to the smallest and largest value on all batches.

    Args:
      model: of `quantization_aware`.
      batches: `[B, S, S, 3]` float32, scaled as the input of the model; one at least.
    """
    followers, count = list(_followers(model)), 0
    for quantizer in followers:
        quantizer.decay = 0.0
    try:
        for count, batch in enumerate(batches, 1):  # noqa: B007 (counts)
            # Not in a tf.function: its trace would keep the first decay.
            model(tf.constant(batch), training=True)
    finally:
        for quantizer in followers:
            quantizer.decay = RANGE_DECAY
    if not count:
        fail("seed_ranges", expected="at least one batch", got="none", do="Give training images.")


def float_weights(model: tf_keras.Model, twin: tf_keras.Model) -> None:
    """Copies the weights that `model` of `quantization_aware` trained into the float model `twin`."""
    wrapped = {layer.layer.name: layer for layer in model.layers if isinstance(layer, QuantizeWrapper)}
    for layer in twin.layers:
        if layer.weights:
            # By name: the wrapper replaces a kernel by its quantised form on each call.
            own = {last_name(w): w for w in wrapped[layer.name].weights}
            if (kernel := computed_kernel(wrapped[layer.name])) is not None:
                own["kernel"] = kernel
            layer.set_weights([own[last_name(w)].numpy() for w in layer.weights])
