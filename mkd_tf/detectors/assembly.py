"""From a backbone's maps to a detector's core: what every family with a backbone shares."""

import keras

from mkd_tf.detection.layers import predictions, pyramid

BACKBONE_TAPS = ("C3", "C4", "C5")


def core_of(
    images, taps: list, num_classes: int, *, width: int, tower: int, prior: float, bins: int
) -> keras.Model:
    """Adds a feature pyramid and the head to a backbone's maps.

    Args:
      images: the input of the graph, `[B, S, S, 3]` in -1..1.
      taps: the maps C3, C4, C5 at strides 8, 16, 32.
      num_classes: C.
      width: channels of the pyramid and the head.
      tower: convolutions per level before the predictions.
      prior: initial probability of every class at every location.
      bins: of a box encoding's distribution, see `layers.predictions`; 0 for none.

    Returns:
      The functional model `core` on the contract of `detectors.base`.
    """
    levels = pyramid(taps, width)
    outputs = predictions(levels, num_classes, depth=tower, prior=prior, bins=bins)
    outputs |= dict(zip(BACKBONE_TAPS, taps, strict=True))
    outputs |= {f"P{i + 3}": level for i, level in enumerate(levels)}
    return keras.Model(images, outputs, name="core")


def backbone_of(core: keras.Model) -> keras.Model:
    """Returns the part of a core up to C3, C4 and C5: the same layers, no new ones."""
    return keras.Model(core.input, {tap: core.output[tap] for tap in BACKBONE_TAPS}, name="backbone")
