"""The `mobilenet_v2` family: inverted residuals, for phones (Sandler et al., CVPR 2018).

The backbone is `keras.applications.MobileNetV2`, layer by layer and under its names,
so that its ImageNet weights fit; it takes -1..1, as a core does, and nothing needs
rewriting. The taps are the bottlenecks' outputs, narrow and without an activation;
the 1,280 channels that only a classifier needs are left out.

Depthwise convolutions train slowly on a CPU: `tiny` or `resnet` learn more per minute there.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras

from mkd_tf.checks import check_positive
from mkd_tf.detectors.assembly import GridDetector
from mkd_tf.detectors.backbone_weights import Original, load_backbone

_TAPS = ("block_5_add", "block_12_add", "block_16_project_BN")
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_PUBLISHED_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_PUBLISHED_SIZES = (96, 128, 160, 192, 224)


@keras.saving.register_keras_serializable("mkd_tf")
class MobileNetV2(GridDetector):
    """A single-stage detector on MobileNetV2.

    Args:
      image_size: side of the input in pixels, a multiple of 32.
      alpha: factor of the backbone's channels.
      pyramid: channels of the pyramid and the head.
      backbone_weights: `imagenet` or a file, see `backbone_weights.load_backbone`;
        read once, now: loading a saved detector does not read it again.
      **head: `tower`, `anchor_scale`, `prior` and `bins` of `GridDetector`.

    Example:
      >>> import mkd_tf
      >>> detector = mkd_tf.MobileNetV2(image_size=64, class_names=("cat", "dog"), alpha=0.35)
      >>> detector.output["box_encodings"].shape  # batch, anchors, (ty, tx, th, tw)
      (None, 84, 4)
    """

    def __init__(
        self,
        image_size: int,
        class_names: Sequence[str],
        alpha: float = 0.35,
        pyramid: int = 48,
        backbone_weights: str = "",
        name: str = "mobilenet_v2",
        **head: Any,
    ):
        check_positive("mobilenet_v2 alpha", alpha)
        original = original_of(alpha, image_size)
        backbone = functools.partial(original.maps, names=_TAPS)
        super().__init__(backbone, image_size, class_names, {"alpha": alpha}, pyramid, name=name, **head)
        if backbone_weights:
            load_backbone(self, backbone_weights, original)


def original_of(alpha: float, image_size: int) -> Original:
    """Returns the model of this `alpha` and the address of its weights, which six values have."""
    side = image_size if image_size in _PUBLISHED_SIZES else 224
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{side}_no_top.h5"
    return Original(
        build=keras.applications.MobileNetV2,
        arguments={"alpha": alpha},
        url=_URL + file if alpha in _PUBLISHED_ALPHAS else "",
    )
