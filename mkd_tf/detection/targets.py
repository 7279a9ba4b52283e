"""Targets: which location answers for which object (static ATSS assignment).

For each object the nine nearest locations of each level are its candidates;
those whose anchor overlaps it by at least the candidates' mean plus standard
deviation, and whose centre lies inside it, are positive. A location claimed
twice goes to the object of the higher IoU.

Reference: Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free
Detection via Adaptive Training Sample Selection", CVPR 2020, Alg. 1.
Departures: all locations as near as the ninth are candidates (a grid has ties);
an object without any positive gets its best candidate; an object's best candidate
goes to no other unless it is that one's best too, so that a small object on a large
one is not lost; the deviation is the population's (the reference does not say
which); objects carry a weight.

A box of negative weight is no object but an area of which nothing is known, as a
crowd's: no location answers for it, and those mostly inside are `ignored`.
"""

from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.anchors import Anchors

IGNORED_SHARE = 0.5
"""Of an anchor's area inside an ignored area, from which on it is no background."""


def _candidates(distances, anchors: Anchors, top_k: int):
    """`[B, M, N]` bool: at the `top_k` nearest locations of its level by squared distance, ties included."""
    masks, start = [], 0
    for count, each in zip(anchors.level_counts, anchors.per_location, strict=True):
        level = distances[..., start : start + count]
        start += count
        nearest = ops.top_k(-level, min(top_k * each, count))[0]
        # Squared pixels: a tie may differ by rounding.
        masks.append(level <= -nearest[..., -1:] * (1 + 1e-5) + 1e-3)
    return ops.concatenate(masks, axis=-1)


def _threshold(overlaps, candidates):
    """Mean plus standard deviation of each object's candidates: `[B, M, 1]`."""
    chosen = ops.cast(candidates, overlaps.dtype)
    count = ops.sum(chosen, axis=-1, keepdims=True)
    mean = ops.sum(overlaps * chosen, axis=-1, keepdims=True) / count
    variance = ops.sum(ops.square(overlaps - mean) * chosen, axis=-1, keepdims=True) / count
    return mean + ops.sqrt(variance)


def assign(anchors: Anchors, boxes, labels, weights, num_classes: int, top_k: int = 9) -> dict:
    """Assigns weighted boxes to anchors.

    Args:
      anchors: those of the role that learns; N of them.
      boxes: `[B, M, 4]` float32 yxyx in pixels of that role's input.
      labels: `[B, M]` int32 in 0..num_classes-1.
      weights: `[B, M]` float32: 1 for the truth, a score for a teacher's box, 0 for padding,
        negative for an ignored area.
      num_classes: how many classes there are; it is also the label of the background.
      top_k: candidate locations per object and level, all anchors of each.

    Returns:
      `labels` `[B, N]` int32, `boxes` `[B, N, 4]` float32 and `weights` `[B, N]`
      float32; a background anchor has label `num_classes`, weight 0 and its own
      box (a valid one, so that no loss on it is NaN before it is masked).
    """
    corners = ops.convert_to_tensor(anchors.boxes)
    centers = ops.convert_to_tensor(anchors.centers_and_sizes()[:, :2])
    overlaps = box_math.pairwise_iou(boxes, corners[None])
    y, x = centers[:, 0], centers[:, 1]
    y0, x0, y1, x1 = (boxes[..., i, None] for i in range(4))
    distances = ops.square((y0 + y1) / 2 - y) + ops.square((x0 + x1) / 2 - x)

    candidates = _candidates(distances, anchors, top_k)
    # The nearest side's distance: positive inside.
    inside = ops.minimum(ops.minimum(y - y0, y1 - y), ops.minimum(x - x0, x1 - x)) > 0
    good = overlaps >= _threshold(overlaps, candidates)
    positive = ops.logical_and(ops.logical_and(candidates, good), inside)
    scored = ops.where(candidates, overlaps, -1.0)
    best = ops.logical_and(scored >= ops.max(scored, axis=-1, keepdims=True), candidates)
    lost = ops.logical_not(ops.any(positive, axis=-1, keepdims=True))
    positive = ops.logical_or(positive, ops.logical_and(lost, best))
    positive = ops.logical_and(positive, weights[..., None] > 0)

    # Its best location is an object's own: a larger one around it has others.
    claims = ops.where(positive, overlaps + ops.cast(best, overlaps.dtype), -1.0)
    owner = ops.argmax(claims, axis=1)
    owned = ops.max(claims, axis=1) >= 0
    taken = ops.take_along_axis(boxes, owner[..., None], axis=1)
    return {
        "labels": ops.where(owned, ops.take_along_axis(labels, owner, axis=1), num_classes),
        "boxes": ops.where(owned[..., None], taken, corners[None]),
        "weights": ops.where(owned, ops.take_along_axis(weights, owner, axis=1), 0.0),
    }


def ignored(anchors: Anchors, boxes, weights, assigned_weights):
    """Tells which locations are neither object nor background.

    Those whose anchor lies inside a box of negative weight with `IGNORED_SHARE` of its
    area, unless they answer for an object: intersection over the anchor's area, as COCO's
    evaluation compares detections with crowds. What of an anchor is beyond the image
    does not count, or a large one would be background in an image full of a crowd.

    Args:
      anchors: those of the role that learns; N of them.
      boxes: `[B, M, 4]` float32 yxyx in pixels of that role's input.
      weights: `[B, M]` float32, negative for ignored areas.
      assigned_weights: `[B, N]` float32, the `weights` that `assign` returned.

    Returns:
      `[B, N]` float32, 1 where nothing is known.
    """
    corners = ops.convert_to_tensor(anchors.boxes.clip(0, anchors.image_size))
    low = ops.maximum(boxes[:, :, None, :2], corners[None, None, :, :2])
    high = ops.minimum(boxes[:, :, None, 2:], corners[None, None, :, 2:])
    share = ops.prod(ops.maximum(high - low, 0.0), axis=-1) / ops.maximum(box_math.area(corners), 1e-6)
    inside = ops.logical_and(share >= IGNORED_SHARE, weights[..., None] < 0)
    return ops.cast(ops.logical_and(ops.any(inside, axis=1), assigned_weights <= 0), "float32")


def without_ignored(loss, targets: dict):
    """Takes `ignored` locations, if the targets tell any, out of a loss on classes `[B, N, C]`."""
    return loss * (1.0 - targets["ignored"][..., None]) if "ignored" in targets else loss
