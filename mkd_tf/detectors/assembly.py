"""Builds a detector on a backbone: the code that all families share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.layers import predictions, pyramid
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.limits import check_form

BACKBONE_TAPS = ("C3", "C4", "C5")


class GridDetector(Detector):
    """A detector with a feature pyramid, a head and one square anchor per cell of a grid.

    Args:
      backbone: from the input `[B, S, S, 3]` in -1..1 to the maps C3, C4, C5 at strides
        8, 16, 32.
      image_size: side S of the input in pixels, a multiple of 32.
      form: further arguments of the family's constructor, by name; stored by `get_config`.
      width: channels of the pyramid and the head; the family's argument `pyramid`.
      tower: convolutions per level before the predictions.
      anchor_scale: side of an anchor in strides.
      prior: initial probability of every class at every location.
      bins: how many values a box encoding's distribution has (`box_logits`, what the
        strategy `localization` compares); 0 predicts encodings directly.
    """

    def __init__(
        self,
        backbone: Callable[[keras.KerasTensor], list[keras.KerasTensor]],
        image_size: int,
        class_names: Sequence[str],
        form: Mapping[str, Any],
        width: int,
        *,
        name: str,
        tower: int = 1,
        anchor_scale: float = 4.0,
        prior: float = 0.01,
        bins: int = 0,
    ):
        head = {"pyramid": width, "tower": tower, "anchor_scale": anchor_scale, "prior": prior, "bins": bins}
        check_form(name, {"image_size": image_size, "class_names": class_names, **form, **head})
        anchors = grid_anchors(image_size, scale=anchor_scale)
        images = keras.Input((image_size, image_size, 3), name="scaled_images")
        taps = backbone(images)
        levels = pyramid(taps, width)
        outputs = predictions(levels, len(class_names), depth=tower, prior=prior, bins=bins)
        outputs |= dict(zip(BACKBONE_TAPS, taps, strict=True))
        outputs |= {f"P{i}": level for i, level in enumerate(levels, start=3)}
        config = {"image_size": image_size, "class_names": list(class_names), **form, **head, "name": name}
        super().__init__(keras.Model(images, outputs, name="core"), anchors, class_names, config)


def backbone_of(core: keras.Model) -> keras.Model:
    """Returns the part of a core up to C3, C4 and C5: the same layers, no new ones."""
    return keras.Model(core.input, {tap: core.output[tap] for tap in BACKBONE_TAPS}, name="backbone")
