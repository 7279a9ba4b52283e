"""Losses of detection, unreduced: functions hold mathematics, callers reduce."""

from keras import ops

from mkd_tf import boxes


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
