"""The `resnet` family: from a net for CPUs to ResNet-50.

Depths 10, 18 and 34 are built here of basic blocks (He et al., CVPR 2016, Table 1; 10
is one block per stage) with ReLU6 and averaging shortcuts, a 3x3 stem
instead of 7x7 (He et al., "Bag of Tricks", CVPR 2019, shows nothing is lost) and a
factor for their width. Depth 50 is `keras.applications.ResNet50`, layer by layer and
under its names, so that its ImageNet weights fit.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from mkd_tf.checks import check_one_of, check_positive, fail
from mkd_tf.detection.layers import conv_bn, residual_block
from mkd_tf.detectors.assembly import GridDetector
from mkd_tf.detectors.backbone_weights import Original, load_backbone

# Basic blocks per stage, at strides 4, 8, 16, 32.
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
DEPTHS = (*BLOCKS, 50)
_STAGE_WIDTHS = (64, 128, 256, 512)
_TAPS_50 = ("conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
# What keras.applications subtracts from blue, green and red in 0..255.
_IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable("mkd_tf")
class ResNet(GridDetector):
    """A single-stage detector on a residual backbone.

    Args:
      image_size: side of the input in pixels, a multiple of 32.
      depth: 10, 18, 34 or 50.
      width: factor of the channels 64, 128, 256, 512 of depths 10, 18 and 34, 0.5 by
        default; depth 50 has only 1.
      pyramid: channels of the pyramid and the head.
      backbone_weights: `imagenet` or a file, see `backbone_weights.load_backbone`;
        read once, now: loading a saved detector does not read it again.
      **head: `tower`, `anchor_scale`, `prior` and `bins` of `GridDetector`.

    Example:
      >>> import mkd_tf
      >>> detector = mkd_tf.ResNet(image_size=64, class_names=("cat", "dog"), depth=10, width=0.125)
      >>> detector.output["class_logits"].shape  # batch, anchors, classes
      (None, 84, 2)
    """

    def __init__(
        self,
        image_size: int,
        class_names: Sequence[str],
        depth: int = 10,
        width: float | None = None,
        pyramid: int = 64,
        backbone_weights: str = "",
        name: str = "resnet",
        **head: Any,
    ):
        check_one_of("resnet depth", depth, DEPTHS)
        is_basic = depth in BLOCKS
        if width is None:
            width = 0.5 if is_basic else 1
        check_positive("resnet width", width)
        if not is_basic and width != 1:
            do = f"Leave width out, or choose a depth of {', '.join(str(d) for d in BLOCKS)}."
            fail(f"resnet width at depth {depth}", expected="1", got=repr(width), do=do)
        basic = functools.partial(_basic, depth=depth, width=width)
        backbone = basic if is_basic else functools.partial(ORIGINAL_50.maps, names=_TAPS_50)
        form = {"depth": depth, "width": width}
        super().__init__(backbone, image_size, class_names, form, pyramid, name=name, **head)
        if backbone_weights:
            load_backbone(self, backbone_weights, None if is_basic else ORIGINAL_50)


def _basic(images: keras.KerasTensor, depth: int, width: float) -> list[keras.KerasTensor]:
    """Basic blocks in four stages; returns the maps at strides 8, 16, 32."""
    # A multiple of 8 keeps integer kernels on their fast path.
    widths = [max(8, round(c * width / 8) * 8) for c in _STAGE_WIDTHS]
    x = conv_bn(images, widths[0], "stem", stride=2)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    stages = []
    for i, (filters, count) in enumerate(zip(widths, BLOCKS[depth], strict=True)):
        for j in range(count):
            stride = 2 if i and not j else 1
            x = residual_block(x, filters, f"stage{i + 2}_block{j + 1}", stride=stride)
        stages.append(x)
    return stages[1:]


def _from_scaled_rgb(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Makes the first convolution take RGB in -1..1 where it took BGR less the means.

    With x = 127.5 (s + 1) the sum of W (x - mean) is that of 127.5 W s, plus W (127.5 - mean),
    which is constant and goes into the bias. Exact wherever the kernel sees the
    image alone. In the padding, where the original is fed the means, s = 0 stands
    for mid-grey instead (up to 24 of 255 levels away): the outputs there, two cells
    wide, are those of an image with a grey frame.
    """
    kernel, bias = (w.astype("float64") for w in weights)
    kernel = kernel[:, :, ::-1]
    means = np.array(_IMAGENET_MEANS_BGR[::-1])
    bias = bias + np.einsum("hwio,i->o", kernel, 127.5 - means)
    return [(127.5 * kernel).astype("float32"), bias.astype("float32")]


ORIGINAL_50 = Original(
    build=keras.applications.ResNet50,
    arguments={},
    url=_URL + "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="4d473c1dd8becc155b73f8504c6f6626",
    rewrite={"conv1_conv": _from_scaled_rgb},
)
