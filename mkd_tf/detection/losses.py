"""Losses of detection, unreduced: functions hold mathematics, callers reduce."""

import numpy as np
from keras import ops

from mkd_tf.detection import boxes

BIN_REACH = 8.0
"""Largest box encoding that a distribution over bins can say, of either sign.

A location at most 3 strides off centre has |ty| <= 7.5 with anchors of 4 strides, and
th = 8 is a box of five times the anchor's height.
"""


def binary_cross_entropy(targets, logits):
    """`-y log s(z) - (1 - y) log(1 - s(z))`, stable for any finite logit; broadcasts."""
    # Shorter forms with a maximum and an absolute value have a wrong gradient at logit 0.
    return targets * ops.softplus(-logits) + (1.0 - targets) * ops.softplus(logits)


def quality_focal(targets, logits, beta: float):
    """Quality focal loss `|y - s(z)|^beta * BCE(y, z)` with soft targets y in 0..1.

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


def giou_loss(targets, predictions):
    """`1 - GIoU`, in 0..2, of boxes `[..., 4]` yxyx in one unit."""
    return 1.0 - boxes.giou(targets, predictions)


def kl_divergence(target_logits, logits):
    """`KL(softmax(target) || softmax(z))` over the last axis; finite for any finite logits."""
    expected = ops.log_softmax(target_logits, axis=-1)
    return ops.sum(ops.exp(expected) * (expected - ops.log_softmax(logits, axis=-1)), axis=-1)


def bin_values(bins: int) -> np.ndarray:
    """Returns the box encodings that the bins of a distribution stand for: `[bins]`, evenly spaced."""
    return np.linspace(-BIN_REACH, BIN_REACH, bins, dtype="float32")


def distribution_focal(encodings, logits):
    """Distribution focal loss: cross-entropy with the two bins next to the true encoding.

    With y between the bins i and i + 1, and both in units of a bin's width:
    `-(i + 1 - y) log p_i - (y - i) log p_(i+1)`, averaged over the four encodings.
    Its least value, where the expectation of p is y, is above 0 between bins.

    Reference: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. 6. Departures: the
    distribution is over the box encodings (ty, tx, th, tw), not over distances of the
    edges, whose way back to encodings needs a logarithm; what is out of reach counts
    as the last bin.

    Args:
      encodings: `[B, N, 4]` float32, the truth.
      logits: `[B, N, 4, bins]` float32 before the softmax.

    Returns:
      `[B, N]` float32.
    """
    bins = logits.shape[-1]
    inside = ops.clip(encodings, -BIN_REACH, BIN_REACH) + BIN_REACH
    position = inside[..., None] * ((bins - 1) / (2 * BIN_REACH))
    # A bin's share falls from 1 at its own value to 0 at its neighbours'.
    share = ops.relu(1.0 - ops.abs(position - ops.arange(bins, dtype="float32")))
    return ops.mean(-ops.sum(share * ops.log_softmax(logits, axis=-1), axis=-1), axis=-1)
