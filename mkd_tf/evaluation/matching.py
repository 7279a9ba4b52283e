"""Which object each detection takes, by the COCO protocol at one IoU."""

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.voc import overlaps


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
    ignored, taken = truth.is_difficult | truth.is_crowd, np.zeros(len(truth.labels), bool)
    for i in np.argsort(-found.scores, kind="stable"):
        fits = (truth.labels == found.labels[i]) & (overlap[i] >= iou) & ~taken
        best = max(np.flatnonzero(fits), key=lambda j: (not ignored[j], overlap[i, j]), default=-1)
        taken_by[i] = best
        taken[best] |= best >= 0 and not truth.is_crowd[best]
    return taken_by
