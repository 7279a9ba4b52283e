"""The `mobilenet_v2` family: inverted residuals, for phones (Sandler et al., CVPR 2018).

The backbone is `keras.applications.MobileNetV2`, layer by layer and under its names,
so that its ImageNet weights fit; it takes -1..1, as a core does, and nothing needs
rewriting. The taps are the bottlenecks' outputs, narrow and without an activation;
the 1,280 channels that only a classifier needs are left out.

Depthwise convolutions train slowly on a CPU: `tiny` or `resnet` learn more per minute there.
"""

from collections.abc import Sequence

import keras

from mkd_tf.checks import check_positive
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detectors.assembly import core_of
from mkd_tf.detectors.backbone_weights import Original, load_backbone, use_batch_norm_momentum
from mkd_tf.detectors.base import Detector

_TAPS = ("block_5_add", "block_12_add", "block_16_project_BN")
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_PUBLISHED_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_PUBLISHED_SIZES = (96, 128, 160, 192, 224)


@keras.saving.register_keras_serializable("mkd_tf")
class MobileNetV2(Detector):
    """A single-stage detector on MobileNetV2.

    Args:
      image_size: side of the input in pixels, a multiple of 32.
      class_names: names of the C classes.
      alpha: factor of the backbone's channels.
      pyramid: channels of the pyramid and the head.
      tower: convolutions per level before the predictions.
      anchor_scale: side of an anchor in strides.
      prior: initial probability of every class at every location.
      bins: how many values a box encoding's distribution has, see `layers.predictions`;
        0 predicts encodings at once.
      backbone_weights: `imagenet` or a file, see `backbone_weights.load_backbone`;
        read once, now: a saved detector does not ask for it again.
      name: of the model.
    """

    def __init__(
        self,
        image_size: int,
        class_names: Sequence[str],
        alpha: float = 0.35,
        pyramid: int = 48,
        tower: int = 1,
        anchor_scale: float = 4.0,
        prior: float = 0.01,
        bins: int = 0,
        backbone_weights: str = "",
        name: str = "mobilenet_v2",
    ):
        check_positive("mobilenet_v2 alpha", alpha)
        anchors = grid_anchors(image_size, scale=anchor_scale)
        images = keras.Input((image_size, image_size, 3), name="scaled_images")
        # Called on our input, its layers join our graph: a nested model could not be quantised.
        original = keras.applications.MobileNetV2(
            input_shape=images.shape[1:], alpha=alpha, include_top=False, weights=None, input_tensor=images
        )
        use_batch_norm_momentum(original)
        taps = [original.get_layer(tap).output for tap in _TAPS]
        core = core_of(images, taps, len(class_names), width=pyramid, tower=tower, prior=prior, bins=bins)
        config = {
            "image_size": image_size,
            "class_names": list(class_names),
            "alpha": alpha,
            "pyramid": pyramid,
            "tower": tower,
            "anchor_scale": anchor_scale,
            "prior": prior,
            "bins": bins,
            "name": name,
        }
        super().__init__(core, anchors, class_names, config)
        if backbone_weights:
            load_backbone(self, backbone_weights, original_of(alpha, image_size))


def original_of(alpha: float, image_size: int) -> Original:
    """Returns where the weights of a width come from; ImageNet's exist for six of them."""
    side = image_size if image_size in _PUBLISHED_SIZES else 224
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{side}_no_top.h5"
    return Original(
        build=keras.applications.MobileNetV2,
        arguments={"alpha": alpha},
        url=_URL + file if alpha in _PUBLISHED_ALPHAS else "",
    )
