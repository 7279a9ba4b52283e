"""Detections in the form of a detector's outputs: soft targets of a teacher without dense predictions.

Detections of one place, which overlap its best one by more than `SAME_PLACE`, become one box
with a score for every class: the largest of that class there. Boxes are assigned to anchors
as labels are (`targets.assign`). An anchor a of a box b then has

    class_logits[a, c] = logit(score[b, c])      box_encodings[a] = encode(b, a)      matched[a] = 1

and every other anchor has `matched` 0: of it the teacher says nothing, since a list of
detections has no scores of the background.
"""

from collections.abc import Mapping

import numpy as np
from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import targets
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Float, Int

SAME_PLACE = 0.6
"""Detections of any class whose IoU is above this are of one place."""
SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1, where logits are infinite."""


def places(
    boxes: Float[np.ndarray, "detections 4"],
    scores: Float[np.ndarray, " detections"],
    labels: Int[np.ndarray, " detections"],
    num_classes: int,
) -> tuple[Float[np.ndarray, "places 4"], Float[np.ndarray, "places classes"]]:
    """Joins the detections of one image into places.

    Args:
      boxes: `[D, 4]` yxyx in any unit.
      scores: in 0..1.
      labels: 0..num_classes-1.
      num_classes: C.

    Returns:
      The box of the best detection of each place, `[P, 4]`, best first, and the largest score
      of each class there, `[P, C]`, 0 for a class that was not detected. A detection counts
      at every place that it overlaps enough.
    """
    overlaps = ops.convert_to_numpy(box_math.pairwise_iou(boxes[None], boxes[None]))[0]
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not kept or overlaps[index, kept].max() <= SAME_PLACE:
            kept.append(index)
    found = np.zeros((len(kept), num_classes), "float32")
    for row, index in enumerate(kept):
        near = (overlaps[index] > SAME_PLACE) | (np.arange(len(scores)) == index)
        np.maximum.at(found[row], labels[near], scores[near].astype("float32"))
    return boxes[kept].astype("float32"), found


def outputs_at_anchors(
    anchors: Anchors,
    boxes: Float[Array, "batch places 4"],
    rows: Int[Array, "batch places"],
    weights: Float[Array, "batch places"],
    profiles: Float[Array, "rows classes"],
) -> dict[str, Array]:
    """Returns what a network with these anchors would return if it detected the places, and `matched`.

    Args:
      anchors: N of them.
      boxes: yxyx in pixels of the anchors' input.
      rows: of each place, its row of `profiles`.
      weights: the largest class score of each place, 0 for padding.
      profiles: class scores relative to the largest of their place, which is 1.

    Returns:
      `class_logits` `[B, N, C]`, `box_encodings` `[B, N, 4]`, and `matched` `[B, N]`, 1 for
      anchors to which a place is assigned; float32.
    """
    count = profiles.shape[0]
    found = targets.assign(anchors, boxes, rows, weights, count)
    # The row of anchors without a place.
    padded = ops.pad(profiles, ((0, 1), (0, 0)))
    scores = ops.take(padded, found["labels"], axis=0) * found["weights"][..., None]
    inside = ops.clip(scores, SMALLEST, 1.0 - SMALLEST)
    return {
        "class_logits": ops.log(inside) - ops.log1p(-inside),
        "box_encodings": box_math.encode(found["boxes"], anchors.centers_and_sizes()),
        "matched": ops.cast(found["weights"] > 0, "float32"),
    }


def different_grids(learning: Mapping[str, Anchors]) -> list[Anchors]:
    """Returns the anchors of the networks that learn, those of equal place once."""
    found: list[Anchors] = []
    for anchors in learning.values():
        if not any(_are_equal(anchors, other) for other in found):
            found.append(anchors)
    return found


def _are_equal(first: Anchors, second: Anchors) -> bool:
    ours, theirs = first.normalized(), second.normalized()
    return ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-6)


def joined_anchors(grids: list[Anchors]) -> Anchors:
    """Returns the anchors of several grids, one grid after the other, in pixels of the first's input.

    A source with these anchors has an anchor that equals each anchor of every network that learns.
    """
    if len(grids) == 1:
        return grids[0]
    size = grids[0].image_size
    boxes = np.concatenate([grid.boxes * (size / grid.image_size) for grid in grids])
    return Anchors(boxes.astype("float32"), sum((g.level_counts for g in grids), ()), size)
