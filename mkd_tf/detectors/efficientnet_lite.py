"""The `efficientnet_lite` family: EfficientNet for integer hardware, with ImageNet weights at hand.

EfficientNet-Lite leaves out what such hardware runs badly: ReLU6 in place of swish, no
squeeze-and-excitation, and a stem that is not widened. `variant` is the published size;
`width` narrows one below that, and takes its weights by channel selection: evenly spaced
channels of each layer, of stem, stages and expansions alike.

The taps are the ends of the stages before strides 16 and 32 and of the last one: 40, 112
and 320 channels in variant 0, without an activation. What only the classifier needs, a
convolution of 1,280 channels and a dense layer, is left out.

References: Tan and Le, "EfficientNet", ICML 2019 (Table 1 and the scaling of width and
depth); Sandler et al., MobileNetV2, CVPR 2018 (the block); Google's TPU repository, 2020
(the Lite form). Departure: batch norm momentum, which suits short runs, and no dropping of
whole blocks.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import layers

from mkd_tf.checks import check_one_of, check_positive, fail
from mkd_tf.detection.layers import BATCH_NORM_MOMENTUM, conv_bn
from mkd_tf.detectors.assembly import GridDetector
from mkd_tf.detectors.backbone_weights import load_backbone
from mkd_tf.detectors.efficientnet_lite_weights import reader

FACTORS = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
"""Of each variant: the factors of channels and of blocks."""
_STEM = 32


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_TAPPED = (3, 5, 7)


@keras.saving.register_keras_serializable("mkd_tf")
class EfficientNetLite(GridDetector):
    """A single-stage detector on EfficientNet-Lite.

    Args:
      image_size: side of the input in pixels, a multiple of 32.
      variant: 0, 1 or 2, the published network.
      width: factor of the channels of the variant, above 0 and up to 1.
      pyramid: channels of the pyramid and the head.
      backbone_weights: `imagenet` (the installed package of the extra `pretrained`), the path
        of its `.pth` file, or a detector's `.keras` file of this family; a narrower backbone
        takes evenly spaced channels. Read once, now: loading a saved detector does not read
        it again.
      **head: `tower`, `anchor_scale`, `prior` and `bins` of `GridDetector`.

    Example:
      >>> import mkd_tf
      >>> detector = mkd_tf.EfficientNetLite(64, ("cat", "dog"), width=0.25)
      >>> [detector.output[tap].shape[-1] for tap in ("C3", "C4", "C5")]
      [16, 32, 80]
    """

    def __init__(
        self,
        image_size: int,
        class_names: Sequence[str],
        variant: int = 0,
        width: float = 1.0,
        pyramid: int = 64,
        backbone_weights: str = "",
        name: str = "efficientnet_lite",
        **head: Any,
    ):
        check_one_of("efficientnet_lite variant", variant, tuple(FACTORS))
        check_positive("efficientnet_lite width", width)
        if width > 1:
            do = "Choose a larger variant instead."
            fail("efficientnet_lite width", expected="at most 1", got=repr(width), do=do)
        form = {"variant": variant, "width": width}
        backbone = functools.partial(stages, variant=variant, width=width)
        super().__init__(backbone, image_size, class_names, form, pyramid, name=name, **head)
        if backbone_weights:
            load_backbone(self, backbone_weights, None, published=reader(variant, names_of(variant)))


def channels_of(channels: int, factor: float) -> int:
    """Returns a number of channels times a factor, as a multiple of 8 (Tan and Le's rounding).

    It is at least 8, and at least nine tenths of the exact product.
    """
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def blocks_of(variant: int) -> list[int]:
    """Returns the number of blocks of each of the seven stages; the first and the last are not scaled."""
    depth = FACTORS[variant][1]
    scaled = [math.ceil(stage.blocks * depth) for stage in _STAGES]
    return [_STAGES[0].blocks, *scaled[1:-1], _STAGES[-1].blocks]


def stages(images: keras.KerasTensor, variant: int, width: float) -> list[keras.KerasTensor]:
    """Returns the maps at strides 8, 16, 32."""
    factor = FACTORS[variant][0]
    x = conv_bn(images, channels_of(_STEM, width), "stem", stride=2)
    ends = {}
    for i, (stage, count) in enumerate(zip(_STAGES, blocks_of(variant), strict=True), start=1):
        # Of the rounded width of the variant: the same network at width 1, whatever the order of factors.
        filters = channels_of(channels_of(stage.channels, factor), width)
        for j in range(count):
            x = _block(x, filters, f"stage{i}_block{j + 1}", stage, stride=1 if j else stage.stride)
        ends[i] = x
    return [ends[i] for i in _TAPPED]


def _block(x: keras.KerasTensor, filters: int, name: str, stage: _Stage, stride: int) -> keras.KerasTensor:
    """Returns an inverted residual: widened by a 1x1 convolution, filtered per channel, narrowed again."""
    y = x
    if stage.expansion != 1:
        # Its input has passed no ReLU.
        width = stage.expansion * x.shape[-1]
        y = conv_bn(y, width, f"{name}_expand", kernel=1, initializer="lecun_normal")
    y = layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )(y)
    y = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_depthwise_bn")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = conv_bn(y, filters, f"{name}_project", kernel=1, relu=False)
    if stride == 1 and x.shape[-1] == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def names_of(variant: int) -> dict[str, str]:
    """Returns what every layer with weights is called in the published file, which numbers all blocks."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    parts = (
        ("expand", "_expand_conv", "_bn0"),
        ("depthwise", "_depthwise_conv", "_bn1"),
        ("project", "_project_conv", "_bn2"),
    )
    number = 0
    for i, (stage, count) in enumerate(zip(_STAGES, blocks_of(variant), strict=True), start=1):
        for j in range(count):
            for ours, convolution, norm in parts[0 if stage.expansion != 1 else 1 :]:
                names[f"stage{i}_block{j + 1}_{ours}_conv"] = f"_blocks.{number}.{convolution}"
                names[f"stage{i}_block{j + 1}_{ours}_bn"] = f"_blocks.{number}.{norm}"
            number += 1
    return names
