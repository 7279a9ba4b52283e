"""Matches the detections of a split with its truth, as the COCO protocol does for objects of all sizes.

By falling score each detection takes, of the objects of its class that overlap it enough
and are free, the one that it overlaps most; an object that counts goes before one that
does not (a crowd, a difficult one), and a detection of the latter is left out.
"""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval.core import mask

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import MAX_DETECTIONS, Truth, same_class
from mkd_tf.experiments.matches import OVERLAPS, Matches


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate([boxes[:, 1::-1], (boxes[:, 2:] - boxes[:, :2])[:, ::-1]], axis=1).tolist()


def _match(ious: np.ndarray, ignored: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches the detections of one image and class.

    Args:
      ious: `[D, M]`, of detections by falling score.
      ignored: `[M]` bool, whether an object does not count.
      is_crowd: `[M]` bool, whether any number of detections may belong to it.

    Returns:
      `right` and `ignored`, `[D, 10]` bool.
    """
    count = len(OVERLAPS)
    taken = np.zeros((count, len(ignored)), bool)
    right, left_out = np.zeros((len(ious), count), bool), np.zeros((len(ious), count), bool)
    each = np.arange(count)
    for row, iou in enumerate(ious):
        open_to_it = (iou >= OVERLAPS[:, None]) & (~taken | is_crowd)
        counting = open_to_it & ~ignored
        candidates = np.where(counting.any(axis=1, keepdims=True), counting, open_to_it)
        # Of equal overlaps the protocol takes the last object.
        best = len(iou) - 1 - np.argmax(np.where(candidates, iou, -1.0)[:, ::-1], axis=1)
        found = candidates[each, best]
        taken[each[found], best[found]] = True
        left_out[row] = found & ignored[best]
        right[row] = found & ~ignored[best]
    return right, left_out


def _matched(truth: Truth, found: Detections, label: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the scores `[D]` of an image's detections of a class, and what `_match` returns."""
    mine, theirs = np.flatnonzero(found.labels == label), same_class(np.array([label]), truth.labels)[0]
    mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MAX_DETECTIONS]
    boxes = found.boxes[mine].astype("float64") * [truth.height, truth.width, truth.height, truth.width]
    nothing = np.zeros((len(mine), len(OVERLAPS)), bool)
    if not len(mine) or not theirs.any():
        return found.scores[mine], nothing, nothing
    is_crowd = truth.is_crowd[theirs]
    ious = np.asarray(mask.iou(_xywh(boxes), _xywh(truth.boxes[theirs]), is_crowd.astype(int).tolist()))
    return found.scores[mine], *_match(ious, is_crowd | truth.is_difficult[theirs], is_crowd)


def match_all(truth: Sequence[Truth], detections: Sequence[Detections], num_classes: int) -> Matches:
    """Matches the detections of a split with its truth.

    Args:
      truth: one record per image.
      detections: what was found in each, in the same order, boxes as fractions.
      num_classes: C.
    """
    images, labels, scores, right, ignored = [], [], [], [], []
    for label in range(num_classes):
        parts = [_matched(t, d, label) for t, d in zip(truth, detections, strict=True)]
        counts = [len(part[0]) for part in parts]
        # Of equal scores the earlier image comes first, as in the protocol.
        joined = np.concatenate([part[0] for part in parts])
        order = np.argsort(-joined, kind="stable")
        images.append(np.repeat(np.arange(len(parts), dtype="int32"), counts)[order])
        labels.append(np.full(len(order), label, "int32"))
        scores.append(joined[order])
        right.append(np.concatenate([part[1] for part in parts])[order])
        ignored.append(np.concatenate([part[2] for part in parts])[order])
    counting = [t.labels[~(t.is_difficult | t.is_crowd)] for t in truth]
    objects = np.array([np.bincount(found, minlength=num_classes) for found in counting], "int32")
    return Matches(
        np.concatenate(images),
        np.concatenate(labels),
        np.concatenate(scores),
        np.concatenate(right),
        np.concatenate(ignored),
        objects,
    )
