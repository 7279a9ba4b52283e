"""Building blocks that compress and export cleanly.

Their form follows from compression and export: convolution + batch norm + ReLU6
is the pattern that integer converters fold and tfmot quantises; no layer with a
batch norm is called twice, since tfmot cannot fold one that stands alone;
nearest upsampling is the raw op that exports as RESIZE_NEAREST_NEIGHBOR v2,
because `UpSampling2D` exports as TILE, which Edge TPU tooling rejects.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mkd_tf.checks import fail
from mkd_tf.detection.losses import bin_values
from mkd_tf.detection.types import Array, Float, Map

BATCH_NORM_MOMENTUM = 0.97

SOFTMAX_LIMIT = 16_000
"""Largest number of elements of one softmax that the Edge TPU compiler maps."""


@keras.saving.register_keras_serializable("mkd_tf")
class NearestUpsample(layers.Layer):
    """Doubles height and width by repetition: `[B, h, w, c]` to `[B, 2h, 2w, c]`."""

    def call(self, inputs: Map, training: bool = False) -> Float[Array, "batch _ _ c"]:
        # In inference the bare operator, which is what converters know.
        return _doubled_in_training(inputs) if training else _doubled(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)  # type: ignore[operator]


def _doubled(x: Map) -> Float[Array, "batch _ _ c"]:
    return tf.raw_ops.ResizeNearestNeighbor(
        images=x, size=[2 * x.shape[1], 2 * x.shape[2]], align_corners=False, half_pixel_centers=False
    )


@tf.custom_gradient
def _doubled_in_training(x: Map) -> tuple[Float[Array, "batch _ _ c"], Callable[[Array], Array]]:
    """Returns the same; the gradient sums over 2 x 2, since XLA has no kernel of the operator's own."""
    height, width, channels = x.shape[1:]

    def gradient(upstream: Array) -> Array:
        cells = tf.reshape(upstream, [-1, height, 2, width, 2, channels])
        return tf.reduce_sum(cells, axis=[2, 4])

    return _doubled(x), gradient


def conv_bn(
    x: Map,
    filters: int,
    name: str,
    *,
    kernel: int = 3,
    stride: int = 1,
    relu: bool = True,
    initializer: str = "he_normal",
) -> Float[Array, "batch _ _ {filters}"]:
    """Returns convolution, batch norm and (by default) ReLU6 of a map: one unit that converters fold.

    `initializer` of the kernel suits an input that has passed a ReLU; `lecun_normal` another one.
    """
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=initializer,
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def residual_block(
    x: Map, filters: int, name: str, *, stride: int = 1
) -> Float[Array, "batch _ _ {filters}"]:
    """Returns two convolutions and a shortcut of a map (He et al., CVPR 2016, the basic block).

    A shortcut that changes size averages before its 1x1 convolution (He et al., "Bag
    of Tricks", CVPR 2019, ResNet-D), which sees every position. A strided 1x1
    convolution of 8 channels also corrupts memory in TensorFlow 2.21's oneDNN kernels.
    """
    y = conv_bn(x, filters, f"{name}_a", stride=stride)
    y = conv_bn(y, filters, f"{name}_b", relu=False)
    if stride != 1:
        x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_pool")(x)
    if x.shape[-1] != filters:
        x = conv_bn(x, filters, f"{name}_shortcut", kernel=1, relu=False)
    return layers.ReLU(6.0, name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def plain_block(x: Map, filters: int, name: str, *, stride: int = 1) -> Float[Array, "batch _ _ {filters}"]:
    """Returns two convolutions of a map, without a shortcut: the cheapest block to train on a CPU."""
    x = conv_bn(x, filters, f"{name}_a", stride=stride)
    return conv_bn(x, filters, f"{name}_b")


def pyramid(
    taps: Sequence[Float[Array, "batch _ _ _"]], filters: int
) -> list[Float[Array, "batch _ _ {filters}"]]:
    """Returns a top-down feature pyramid over maps of falling size (Lin et al., FPN, CVPR 2017).

    Departure: ReLU6 on the lateral and the merged maps, so that every one of them
    is quantised with a known range.
    """
    laterals = [conv_bn(tap, filters, f"pyramid_lateral{i + 3}", kernel=1) for i, tap in enumerate(taps)]
    merged = [laterals[-1]]
    for i in reversed(range(len(taps) - 1)):
        up = NearestUpsample(name=f"pyramid_up{i + 3}")(merged[0])
        merged.insert(0, layers.Add(name=f"pyramid_add{i + 3}")([laterals[i], up]))
    return [conv_bn(m, filters, f"pyramid_out{i + 3}") for i, m in enumerate(merged)]


def predictions(
    levels: Sequence[Float[Array, "batch _ _ c"]],
    num_classes: int,
    *,
    depth: int,
    prior: float,
    bins: int = 0,
) -> dict[str, Float[Array, "batch anchors ..."]]:
    """Predicts classes and boxes at every cell of every level.

    Each level has a tower of its own; the prediction convolutions carry a bias and no
    batch norm and are shared by all levels.

    Args:
      levels: pyramid maps of equal width.
      num_classes: C.
      depth: convolutions per tower.
      prior: initial probability of every class at every location.
      bins: number of values of a box encoding's distribution; 0 predicts the encoding itself.

    Returns:
      `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]`, N the sum of h * w;
      with bins also `box_logits` `[B, N, 4, bins]`, whose expectation the encodings are.

    Raises:
      MkdError: if there is one bin, or fewer than 0.
    """
    if bins < 0 or bins == 1:
        fail("bins of head", expected="0, or 2 and more", got=str(bins), do="Use for example bins=8.")
    bias = keras.initializers.Constant(-math.log((1.0 - prior) / prior))
    normal = keras.initializers.RandomNormal(stddev=0.01)
    classify = _predictor(num_classes, "head_class", normal, bias_initializer=bias)
    regress = BoxDistributions(bins) if bins else _predictor(4, "head_box", normal)
    found: dict[str, list] = {"class": [], "box": [], "bins": []}
    for i, x in enumerate(levels, start=3):
        for j in range(depth):
            x = conv_bn(x, x.shape[-1], f"head_tower{i}_{j}")
        cells = x.shape[1] * x.shape[2]
        found["class"].append(layers.Reshape((cells, num_classes), name=f"head_class{i}")(classify(x)))
        if isinstance(regress, BoxDistributions):
            encodings, logits = regress(x, i)
            found["bins"].append(logits)
        else:
            encodings = regress(x)
        found["box"].append(layers.Reshape((cells, 4), name=f"head_box{i}")(encodings))
    names = {"class": "class_logits", "box": "box_encodings", "bins": "box_logits"}
    return {
        names[kind]: layers.Concatenate(axis=1, name=f"head_{kind}_all")(parts)
        for kind, parts in found.items()
        if parts
    }


def _predictor(filters: int, name: str, kernel: Any, **options: Any) -> layers.Conv2D:
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=kernel, name=name, **options)


class BoxDistributions:
    """Predicts every box encoding as the expectation of a distribution over `losses.bin_values`.

    The expectation is a 1x1 convolution of one channel with those values as its kernel:
    it is not trained, and converters and tfmot know the operator. (`trainable = True`
    on a whole model would free it.) One map per encoding, so that the softmax is over
    channels and no map is reordered.

    Reference: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. 3-5.
    """

    def __init__(self, bins: int):
        self.bins = bins
        self.sides = [
            _predictor(bins, f"head_bins_{side}", keras.initializers.RandomNormal(stddev=0.01))
            for side in ("ty", "tx", "th", "tw")
        ]
        self.expectation = layers.Conv2D(1, 1, trainable=False, name="head_expectation")
        self.expectation.build((None, None, None, bins))
        self.expectation.kernel.assign(bin_values(bins).reshape(1, 1, bins, 1))

    def __call__(
        self, x: Map, level: int
    ) -> tuple[Float[Array, "batch h w 4"], Float[Array, "batch h*w 4 bins"]]:
        """Returns the encodings of a level's cells, and the logits of their distributions."""
        cells = x.shape[1] * x.shape[2]
        maps = [side(x) for side in self.sides]
        means = [self._expected(m, f"{side.name}{level}") for m, side in zip(maps, self.sides, strict=True)]
        rows = [
            layers.Reshape((cells, 1, self.bins), name=f"{side.name}{level}")(m)
            for m, side in zip(maps, self.sides, strict=True)
        ]
        encodings = layers.Concatenate(axis=-1, name=f"head_means{level}")(means)
        return encodings, layers.Concatenate(axis=2, name=f"head_bins{level}")(rows)

    def _expected(self, logits: Float[Array, "batch h w bins"], name: str) -> Float[Array, "batch h w 1"]:
        """Returns expectations, computed in bands of rows whose softmax the Edge TPU compiler maps."""
        _, height, width, bins = logits.shape
        band = max(SOFTMAX_LIMIT // (width * bins), 1)
        means = []
        for top in range(0, height, band):
            bottom = max(height - top - band, 0)
            part = logits
            if band < height:
                part = layers.Cropping2D(((top, bottom), (0, 0)), name=f"{name}_band{top}")(logits)
            means.append(self.expectation(layers.Softmax(name=f"{name}_softmax{top}")(part)))
        return means[0] if len(means) == 1 else layers.Concatenate(axis=1, name=f"{name}_rows")(means)
