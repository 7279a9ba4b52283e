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

BATCH_NORM_MOMENTUM = 0.97


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
    """Predicts classes and boxes at every cell of every level.

    Each level has a tower of its own; the two prediction convolutions carry a
    bias and no batch norm and are shared by all levels.

    Args:
      levels: pyramid maps `[B, h, w, c]` of equal width c.
      num_classes: C.
      depth: convolutions per tower.
      prior: initial probability of every class at every location.

    Returns:
      Class logits `[B, N, C]` and box encodings `[B, N, 4]`, N the sum of h * w.
    """
    bias = keras.initializers.Constant(-math.log((1.0 - prior) / prior))
    normal = keras.initializers.RandomNormal(stddev=0.01)
    classify = layers.Conv2D(
        num_classes, 3, padding="same", kernel_initializer=normal, bias_initializer=bias, name=f"{name}_class"
    )
    regress = layers.Conv2D(4, 3, padding="same", kernel_initializer=normal, name=f"{name}_box")
    logits, encodings = [], []
    for i, x in enumerate(levels):
        for j in range(depth):
            x = conv_bn(x, x.shape[-1], f"{name}_tower{i + 3}_{j}")
        cells = x.shape[1] * x.shape[2]
        logits.append(layers.Reshape((cells, num_classes), name=f"{name}_class{i + 3}")(classify(x)))
        encodings.append(layers.Reshape((cells, 4), name=f"{name}_box{i + 3}")(regress(x)))
    join = (
        layers.Concatenate(axis=1, name=f"{name}_class_all"),
        layers.Concatenate(axis=1, name=f"{name}_box_all"),
    )
    return join[0](logits), join[1](encodings)
