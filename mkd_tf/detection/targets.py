"""Targets: which object each location is assigned to (static ATSS assignment).

For each object the nine nearest locations of each level are its candidates;
those whose anchor overlaps it by at least the candidates' mean plus standard
deviation, and whose centre lies inside it, are positive. A location claimed
twice goes to the object of the higher IoU.

Reference: Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free
Detection via Adaptive Training Sample Selection", CVPR 2020, Alg. 1.
Departures: all locations as near as the ninth are candidates (a grid has ties);
an object without any positive gets its best candidate; an object's best candidate
is assigned to another object only if it is the best of that one too, so that a small
object on a large one is not lost; the deviation is the population's (the reference
does not say which); objects carry a weight.

Where the anchors are grids, candidates are found among the few cells around an object's centre
(`grid_cells`); other anchors are compared with every object. Both ways give the same.

A box of negative weight is not an object but an area of unknown content, such as a
crowd: no location is assigned to it, and locations mostly inside it are `ignored`.
"""

from typing import Any

from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import grid_cells
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Float, Int, PerAnchor

IGNORED_SHARE = 0.5
"""Smallest share of an anchor's area inside an ignored area at which the anchor is ignored."""


def _candidates(distances: Array, anchors: Anchors, top_k: int) -> Array:
    """Returns whether an anchor is at one of the `top_k` nearest locations of its level, ties included."""
    masks, start = [], 0
    for count, each in zip(anchors.level_counts, anchors.per_location, strict=True):
        level = distances[..., start : start + count]
        start += count
        nearest = ops.top_k(-level, min(top_k * each, count))[0]
        # Squared pixels: a tie may differ by rounding.
        masks.append(level <= -nearest[..., -1:] * (1 + 1e-5) + 1e-3)
    return ops.concatenate(masks, axis=-1)


def _threshold(overlaps: Array, candidates: Array) -> Array:
    """Returns the mean plus the standard deviation of each object's candidates, float64.

    In float32 it would depend on the order of the sums, and so on how candidates were found.
    """
    overlaps, chosen = ops.cast(overlaps, "float64"), ops.cast(candidates, "float64")
    count = ops.sum(chosen, axis=-1, keepdims=True)
    mean = ops.sum(overlaps * chosen, axis=-1, keepdims=True) / count
    variance = ops.sum(ops.square(overlaps - mean) * chosen, axis=-1, keepdims=True) / count
    return mean + ops.sqrt(variance)


def assign(
    anchors: Anchors,
    boxes: Float[Array, "batch objects 4"],
    labels: Int[Array, "batch objects"],
    weights: Float[Array, "batch objects"],
    num_classes: int,
    top_k: int = 9,
) -> dict[str, Array]:
    """Assigns weighted boxes to anchors.

    Args:
      anchors: of the network that learns; N of them.
      boxes: yxyx in pixels of that network's input.
      labels: 0..num_classes-1.
      weights: 1 for the truth, a score for a teacher's box, 0 for padding, negative for
        an ignored area.
      num_classes: number of classes; also the label of the background.
      top_k: candidate locations per object and level, with all anchors of each.

    Returns:
      `labels` `[B, N]` int32, `boxes` `[B, N, 4]` float32 and `weights` `[B, N]`
      float32. A background anchor has label `num_classes`, weight 0 and its own
      box: a valid box, or its loss would be NaN before it is masked.
    """
    boxes, labels, weights = (ops.convert_to_tensor(x) for x in (boxes, labels, weights))
    owner, owned = _owners(anchors, boxes, weights > 0, top_k)
    objects = ops.shape(boxes)[1]
    row = owner + ops.arange(ops.shape(boxes)[0], dtype="int32")[:, None] * objects
    taken = ops.take(ops.reshape(boxes, (-1, 4)), row, axis=0)
    label, weight = (ops.take(ops.reshape(x, (-1,)), row, axis=0) for x in (labels, weights))
    return {
        "labels": ops.where(owned, label, num_classes),
        "boxes": ops.where(owned[..., None], taken, anchors.boxes),
        "weights": ops.where(owned, weight, 0.0),
    }


def _owners(anchors: Anchors, boxes: Array, counts: Array, top_k: int) -> Any:
    """Returns the object of every anchor, 0 where there is none, and whether there is one.

    Args:
      anchors, boxes, top_k: as in `assign`.
      counts: `[B, M]` bool, whether a box takes part.

    Returns:
      `[B, N]` int32 and `[B, N]` bool.
    """
    grids = grid_cells.Grids.of(anchors) if top_k <= grid_cells.MOST_NEAREST else None
    if grids is None:
        return _owners_of_anchors(anchors, boxes, counts, top_k)
    is_near = ops.logical_or(grid_cells.is_in_image(grids, boxes), ops.logical_not(counts))
    return ops.cond(
        ops.all(is_near),
        lambda: _owners_of_cells(grid_cells.near_cells(grids, boxes, top_k), counts, len(anchors)),
        lambda: _owners_of_anchors(anchors, boxes, counts, top_k),
    )


def _claims(positive: Array, best: Array, overlaps: Array) -> Array:
    # An object keeps its best location: a larger object around it has others.
    return ops.where(positive, overlaps + ops.cast(best, overlaps.dtype), -1.0)


def _owners_of_anchors(anchors: Anchors, boxes: Array, counts: Array, top_k: int) -> tuple[Array, Array]:
    """`_owners` from every object with every anchor."""
    positive, best, overlaps = _positives(anchors, boxes, top_k)
    claims = _claims(ops.logical_and(positive, counts[..., None]), best, overlaps)
    return ops.cast(ops.argmax(claims, axis=1), "int32"), ops.max(claims, axis=1) >= 0


def _owners_of_cells(cells: grid_cells.Cells, counts: Array, anchors: int) -> tuple[Array, Array]:
    """`_owners` from the cells around the centres of the objects that count."""
    positive, best = _chosen(cells.overlaps, cells.candidates, cells.inside)
    claims = _claims(ops.logical_and(positive, counts[..., None]), best, cells.overlaps)
    batch, objects, _ = ops.shape(claims)
    rows = cells.numbers + ops.arange(batch, dtype="int32")[:, None, None] * anchors
    rows, flat = ops.reshape(rows, (-1,)), ops.reshape(claims, (-1,))
    largest = ops.segment_max(flat, rows, batch * anchors)
    # Of equal claims the first object's: the largest of the numbers counted from the last.
    is_largest = ops.logical_and(flat >= 0, flat == ops.take(largest, rows))
    order = ops.broadcast_to(objects - ops.arange(objects, dtype="int32")[:, None], ops.shape(claims))
    order = ops.where(is_largest, ops.reshape(order, (-1,)), 0)
    winner = ops.reshape(ops.segment_max(order, rows, batch * anchors), (batch, anchors))
    owned = winner > 0
    return ops.where(owned, objects - winner, 0), owned


def _positives(
    anchors: Anchors, boxes: Float[Array, "batch objects 4"], top_k: int
) -> tuple[Array, Array, Array]:
    """Returns each object's positives, its best candidates, and the IoU, all `[batch, objects, anchors]`."""
    corners = ops.convert_to_tensor(anchors.boxes)
    centers = ops.convert_to_tensor(anchors.centers_and_sizes()[:, :2])
    overlaps = box_math.pairwise_iou(boxes, corners[None])
    y, x = centers[:, 0], centers[:, 1]
    y0, x0, y1, x1 = (boxes[..., i, None] for i in range(4))
    distances = ops.square((y0 + y1) / 2 - y) + ops.square((x0 + x1) / 2 - x)

    candidates = _candidates(distances, anchors, top_k)
    # The nearest side's distance: positive inside.
    inside = ops.minimum(ops.minimum(y - y0, y1 - y), ops.minimum(x - x0, x1 - x)) > 0
    return *_chosen(overlaps, candidates, inside), overlaps


def _chosen(overlaps: Array, candidates: Array, inside: Array) -> tuple[Array, Array]:
    """Returns each object's positives and its best candidates."""
    good = ops.cast(overlaps, "float64") >= _threshold(overlaps, candidates)
    positive = ops.logical_and(ops.logical_and(candidates, good), inside)
    scored = ops.where(candidates, overlaps, -1.0)
    best = ops.logical_and(scored >= ops.max(scored, axis=-1, keepdims=True), candidates)
    lost = ops.logical_not(ops.any(positive, axis=-1, keepdims=True))
    return ops.logical_or(positive, ops.logical_and(lost, best)), best


def ignored(
    anchors: Anchors,
    boxes: Float[Array, "batch objects 4"],
    weights: Float[Array, "batch objects"],
    assigned_weights: PerAnchor,
    top_k: int = 9,
) -> PerAnchor:
    """Returns 1 for locations that are neither object nor background, 0 elsewhere.

    A location is ignored if no object is assigned to it and a share of its anchor's area of at
    least `IGNORED_SHARE` lies inside a box of negative weight, or if the box would be assigned
    to it as an object: a small one fills little of any anchor. The share is the intersection
    over the anchor's area, as COCO's evaluation compares detections with crowds. Anchors are
    clipped to the image: otherwise a large anchor would be background in an image that is
    full of a crowd.

    Args:
      anchors: of the network that learns; N of them.
      boxes: yxyx in pixels of that network's input.
      weights: negative for ignored areas.
      assigned_weights: the `weights` that `assign` returned.
      top_k: as in `assign`.
    """
    boxes, unknown = ops.convert_to_tensor(boxes), ops.convert_to_tensor(weights) < 0
    corners = ops.convert_to_tensor(anchors.boxes.clip(0, anchors.image_size))
    low = ops.maximum(boxes[:, :, None, :2], corners[None, None, :, :2])
    high = ops.minimum(boxes[:, :, None, 2:], corners[None, None, :, 2:])
    share = ops.prod(ops.maximum(high - low, 0.0), axis=-1) / ops.maximum(box_math.area(corners), 1e-6)
    filled = ops.any(ops.logical_and(share >= IGNORED_SHARE, unknown[..., None]), axis=1)
    _, would_be = _owners(anchors, boxes, unknown, top_k)
    free = ops.convert_to_tensor(assigned_weights) <= 0
    return ops.cast(ops.logical_and(ops.logical_or(filled, would_be), free), "float32")
