"""Which object each detection takes, by the COCO protocol at one IoU."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, same_class
from mkd_tf.evaluation.voc import overlaps

_NONE, _IGNORED = -1, -2


def take_objects(truth: Truth, found: Detections, iou: float) -> np.ndarray:
    """Assigns the objects of one image to detections, from the best score down.

    A detection takes the free object of its class that it overlaps most, by at least `iou`.
    Difficult objects and crowds are taken only where no other object fits. A crowd stays
    free, and is overlapped by the share of the detection that lies inside: one of many
    fills too little of the crowd's box for an IoU.

    Returns:
      `[D]` int, the index of the object, -1 for none.
    """
    size = [truth.height, truth.width, truth.height, truth.width]
    taken_by = np.full(len(found), -1)
    if not len(truth.labels):
        return taken_by
    ious, shares = overlaps(found.boxes.astype("float64") * size, truth.boxes)
    overlap = np.where(truth.is_crowd, shares, ious)
    same = same_class(found.labels, truth.labels)
    ignored, taken = truth.is_difficult | truth.is_crowd, np.zeros(len(truth.labels), bool)
    for i in np.argsort(-found.scores, kind="stable"):
        fits = same[i] & (overlap[i] >= iou) & ~taken
        best = max(np.flatnonzero(fits), key=lambda j: (not ignored[j], overlap[i, j]), default=-1)
        taken_by[i] = best
        taken[best] |= best >= 0 and not truth.is_crowd[best]
    return taken_by


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """The detections of a split that count, best first, and the objects that count.

    A detection that takes a difficult object or a crowd does not count. What a detection takes
    does not depend on lower scores: the first n are right or wrong as they would be alone.

    Attributes:
      scores: `[D]` float32, falling.
      labels: `[D]` int.
      owners: `[D]` int, the object that it takes, -1 for none: a wrong detection.
      object_labels: `[N]` int, the class of each object, image after image.
    """

    scores: np.ndarray
    labels: np.ndarray
    owners: np.ndarray
    object_labels: np.ndarray

    @classmethod
    def of(cls, truth: Sequence[Truth], detections: Sequence[Detections], iou: float) -> "Ranking":
        """Assigns the objects of every image to its detections by `take_objects`."""
        owners, objects, first = [np.zeros(0, int)], [np.zeros(0, int)], 0
        for t, d in zip(truth, detections, strict=True):
            counts = ~(t.is_difficult | t.is_crowd)
            places = np.where(counts, first + np.cumsum(counts) - 1, _IGNORED)
            # A last entry for the -1 of detections that take nothing.
            owners.append(np.append(places, _NONE)[take_objects(t, d, iou)])
            objects.append(t.labels[counts])
            first += int(np.sum(counts))
        scores = np.concatenate([np.zeros(0, "float32"), *(d.scores for d in detections)])
        labels = np.concatenate([np.zeros(0, int), *(d.labels for d in detections)])
        all_owners = np.concatenate(owners)
        order = np.argsort(-scores, kind="stable")
        order = order[all_owners[order] != _IGNORED]
        return cls(scores[order], labels[order], all_owners[order], np.concatenate(objects))

    def last_of_equals(self) -> np.ndarray:
        """Returns where the next score is lower, `[D]` bool: equal scores are shown together or not."""
        return np.append(self.scores[:-1] != self.scores[1:], np.ones(min(len(self.scores), 1), bool))
