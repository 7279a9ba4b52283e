"""Losses of detection, unreduced: functions hold mathematics, callers reduce."""

import numpy as np
from keras import ops

from mkd_tf.detection import boxes
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Arrays, BinLogits, Boxes, Float, Logits, PerAnchor, PerExample

BIN_REACH = 8.0
"""Largest absolute value of a box encoding that a distribution over bins represents.

A location at most 3 strides off centre has |ty| <= 7.5 with anchors of 4 strides, and
th = 8 is a box of five times the anchor's height.
"""


def binary_cross_entropy(targets: Float[Array, "..."], logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns `-y log s(z) - (1 - y) log(1 - s(z))`, finite for any finite logit; broadcasts."""
    # Shorter forms with a maximum and an absolute value have a wrong gradient at logit 0.
    return targets * ops.softplus(-logits) + (1.0 - targets) * ops.softplus(logits)


def quality_focal(
    targets: Float[Array, "..."], logits: Float[Array, "..."], beta: float
) -> Float[Array, "..."]:
    """Returns the quality focal loss `|y - s(z)|^beta * BCE(y, z)` with soft targets y in 0..1.

    beta 0 is the plain cross-entropy; beta 2 the published default. The factor
    takes part in the gradient, as in the reference.

    Reference: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. 2.
    """
    loss = binary_cross_entropy(targets, logits)
    if beta == 0:
        return loss
    distance = ops.abs(targets - ops.sigmoid(logits))
    # The power's gradient is infinite at 0 for beta < 1, and needless work at 1.
    return loss * (distance if beta == 1 else ops.power(distance + 1e-7, beta))


def giou_loss(
    targets: Float[Array, "*shape 4"], predictions: Float[Array, "*shape 4"]
) -> Float[Array, "*shape"]:
    """Returns `1 - GIoU`, in 0..2, of boxes yxyx in one unit."""
    return 1.0 - boxes.giou(targets, predictions)


def kl_divergence(
    target_logits: Float[Array, "*shape classes"], logits: Float[Array, "*shape classes"]
) -> Float[Array, "*shape"]:
    """Returns `KL(softmax(target) || softmax(z))`, finite for any finite logits."""
    expected = ops.log_softmax(target_logits, axis=-1)
    return ops.sum(ops.exp(expected) * (expected - ops.log_softmax(logits, axis=-1)), axis=-1)


def bin_values(bins: int) -> Float[np.ndarray, " bins"]:
    """Returns the evenly spaced box encodings that the bins of a distribution stand for."""
    return np.linspace(-BIN_REACH, BIN_REACH, bins, dtype="float32")


def distribution_focal(encodings: Boxes, logits: BinLogits) -> PerAnchor:
    """Returns the distribution focal loss: cross-entropy with the two bins next to the true encoding.

    With y between the bins i and i + 1, and both in units of a bin's width:
    `-(i + 1 - y) log p_i - (y - i) log p_(i+1)`, averaged over the four encodings.
    Its least value, where the expectation of p is y, is above 0 between bins.

    Reference: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. 6. Departures: the
    distribution is over the box encodings (ty, tx, th, tw), not over distances of the
    edges, whose conversion to encodings needs a logarithm; an encoding out of reach
    counts as the last bin.
    """
    bins = logits.shape[-1]
    inside = ops.clip(encodings, -BIN_REACH, BIN_REACH) + BIN_REACH
    position = inside[..., None] * ((bins - 1) / (2 * BIN_REACH))
    # A bin's share falls from 1 at its own value to 0 at its neighbours'.
    share = ops.relu(1.0 - ops.abs(position - ops.arange(bins, dtype="float32")))
    return ops.mean(-ops.sum(share * ops.log_softmax(logits, axis=-1), axis=-1), axis=-1)


def location_losses(
    outputs: Arrays, targets: Arrays, anchors: Anchors, beta: float
) -> tuple[Logits, PerAnchor, PerExample]:
    """Returns the detection losses of every location, before they are reduced.

    The class target of a positive is the IoU of its predicted box (Li et al., NeurIPS
    2020) times the weight of the object that it is assigned to.

    Args:
      outputs: `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]` of the network that learns.
      targets: `labels`, `boxes`, `weights` from `targets.assign`, and `ignored` if there is any.
      anchors: of that network.
      beta: exponent of the quality focal loss.

    Returns:
      The quality focal loss of every class, 0 at ignored locations; the weighted `1 - GIoU`;
      and the summed weight of each example's objects, at least 1.
    """
    logits = ops.cast(outputs["class_logits"], "float32")
    weights = targets["weights"]
    predicted = boxes.decode(ops.cast(outputs["box_encodings"], "float32"), anchors.centers_and_sizes())
    quality = ops.stop_gradient(boxes.iou(predicted, targets["boxes"])) * weights
    # The background's label is C: its one-hot row is all zero.
    hot = ops.one_hot(targets["labels"], logits.shape[-1]) * quality[..., None]
    positives = ops.maximum(ops.sum(weights, axis=-1), 1.0)
    classes = quality_focal(hot, logits, beta)
    if "ignored" in targets:
        classes = classes * (1.0 - targets["ignored"][..., None])
    return classes, giou_loss(targets["boxes"], predicted) * weights, positives
