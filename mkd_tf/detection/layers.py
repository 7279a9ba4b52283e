"""Building blocks that compress and export cleanly.

What the later stages ask for decides their form: convolution + batch norm + ReLU6
is the pattern that integer converters fold and tfmot quantises; no layer with a
batch norm is called twice, since tfmot cannot fold one that stands alone;
nearest upsampling is the raw op that exports as RESIZE_NEAREST_NEIGHBOR v2,
because `UpSampling2D` exports as TILE, which Edge TPU tooling rejects.
"""

import math

import keras
import tensorflow as tf
from keras import layers

from mkd_tf.checks import fail
from mkd_tf.detection.losses import bin_values

BATCH_NORM_MOMENTUM = 0.97

SOFTMAX_LIMIT = 16_000
"""Elements of one softmax that the Edge TPU compiler takes."""


@keras.saving.register_keras_serializable("mkd_tf")
class NearestUpsample(layers.Layer):
    """Doubles height and width by repetition: `[B, h, w, c]` to `[B, 2h, 2w, c]`."""

    def call(self, inputs):
        height, width = inputs.shape[1], inputs.shape[2]
        return tf.raw_ops.ResizeNearestNeighbor(
            images=inputs, size=[2 * height, 2 * width], align_corners=False, half_pixel_centers=False
        )

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)


def conv_bn(x, filters: int, name: str, *, kernel: int = 3, stride: int = 1, relu: bool = True):
    """Convolution, batch norm and (by default) ReLU6: one foldable unit."""
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def residual_block(x, filters: int, name: str, *, stride: int = 1):
    """Two convolutions and a shortcut (He et al., CVPR 2016, the basic block).

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


def plain_block(x, filters: int, name: str, *, stride: int = 1):
    """Two convolutions without a shortcut: the cheapest block to train on a CPU."""
    x = conv_bn(x, filters, f"{name}_a", stride=stride)
    return conv_bn(x, filters, f"{name}_b")


def pyramid(taps: list, filters: int, name: str = "pyramid") -> list:
    """Top-down feature pyramid over maps of falling size (Lin et al., FPN, CVPR 2017).

    Departure: ReLU6 on the lateral and the merged maps, so that every one of them
    is quantised with a known range.
    """
    laterals = [conv_bn(tap, filters, f"{name}_lateral{i + 3}", kernel=1) for i, tap in enumerate(taps)]
    merged = [laterals[-1]]
    for i in reversed(range(len(taps) - 1)):
        up = NearestUpsample(name=f"{name}_up{i + 3}")(merged[0])
        merged.insert(0, layers.Add(name=f"{name}_add{i + 3}")([laterals[i], up]))
    return [conv_bn(m, filters, f"{name}_out{i + 3}") for i, m in enumerate(merged)]


def head(levels: list, num_classes: int, *, depth: int, prior: float, name: str = "head"):
    """Predicts classes and boxes: `predictions` without bins, as a pair."""
    outputs = predictions(levels, num_classes, depth=depth, prior=prior, name=name)
    return outputs["class_logits"], outputs["box_encodings"]


def predictions(
    levels: list, num_classes: int, *, depth: int, prior: float, bins: int = 0, name: str = "head"
) -> dict:
    """Predicts classes and boxes at every cell of every level.

    Each level has a tower of its own; the prediction convolutions carry a bias and no
    batch norm and are shared by all levels.

    Args:
      levels: pyramid maps `[B, h, w, c]` of equal width c.
      num_classes: C.
      depth: convolutions per tower.
      prior: initial probability of every class at every location.
      bins: how many values a box encoding's distribution has; 0 predicts it at once.

    Returns:
      `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]`, N the sum of h * w;
      with bins also `box_logits` `[B, N, 4, bins]`, whose expectation the encodings are.

    Raises:
      MkdError: if there is one bin, or less than none.
    """
    if bins < 0 or bins == 1:
        fail(f"bins of {name}", expected="0, or 2 and more", got=str(bins), do="Use for example bins=8.")
    bias = keras.initializers.Constant(-math.log((1.0 - prior) / prior))
    normal = keras.initializers.RandomNormal(stddev=0.01)
    classify = layers.Conv2D(
        num_classes, 3, padding="same", kernel_initializer=normal, bias_initializer=bias, name=f"{name}_class"
    )
    regress = (
        BoxDistributions(bins, name)
        if bins
        else layers.Conv2D(4, 3, padding="same", kernel_initializer=normal, name=f"{name}_box")
    )
    found: dict[str, list] = {"class": [], "box": [], "bins": []}
    for i, x in enumerate(levels, start=3):
        for j in range(depth):
            x = conv_bn(x, x.shape[-1], f"{name}_tower{i}_{j}")
        cells = x.shape[1] * x.shape[2]
        found["class"].append(layers.Reshape((cells, num_classes), name=f"{name}_class{i}")(classify(x)))
        if isinstance(regress, BoxDistributions):
            encodings, logits = regress(x, i)
            found["bins"].append(logits)
        else:
            encodings = regress(x)
        found["box"].append(layers.Reshape((cells, 4), name=f"{name}_box{i}")(encodings))
    names = {"class": "class_logits", "box": "box_encodings", "bins": "box_logits"}
    return {
        names[kind]: layers.Concatenate(axis=1, name=f"{name}_{kind}_all")(parts)
        for kind, parts in found.items()
        if parts
    }


class BoxDistributions:
    """Predicts every box encoding as the expectation of a distribution over `losses.bin_values`.

    The expectation is a 1x1 convolution of one channel with those values as its kernel:
    it is not trained, and converters and tfmot know the operator. (`trainable = True`
    on a whole model would free it.) One map per encoding, so that the softmax is over
    channels and no map is reordered.

    Reference: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. 3-5.
    """

    def __init__(self, bins: int, name: str):
        self.bins, self.name = bins, name
        self.sides = [
            layers.Conv2D(
                bins,
                3,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                name=f"{name}_bins_{side}",
            )
            for side in ("ty", "tx", "th", "tw")
        ]
        self.expectation = layers.Conv2D(1, 1, trainable=False, name=f"{name}_expectation")
        self.expectation.build((None, None, None, bins))
        self.expectation.kernel.assign(bin_values(bins).reshape(1, 1, bins, 1))

    def __call__(self, x, level: int):
        """Returns encodings `[B, h, w, 4]` and logits `[B, h * w, 4, bins]`."""
        cells = x.shape[1] * x.shape[2]
        maps = [side(x) for side in self.sides]
        means = [self._expected(m, f"{side.name}{level}") for m, side in zip(maps, self.sides, strict=True)]
        rows = [
            layers.Reshape((cells, 1, self.bins), name=f"{side.name}{level}")(m)
            for m, side in zip(maps, self.sides, strict=True)
        ]
        encodings = layers.Concatenate(axis=-1, name=f"{self.name}_means{level}")(means)
        return encodings, layers.Concatenate(axis=2, name=f"{self.name}_bins{level}")(rows)

    def _expected(self, logits, name: str):
        """`[B, h, w, bins]` to `[B, h, w, 1]`, in bands of rows that the Edge TPU's softmax takes."""
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
