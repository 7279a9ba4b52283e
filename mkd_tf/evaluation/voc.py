"""Average precision by the Pascal VOC protocol, at IoU 0.5.

Detections of a class are taken by falling score over all images. One belongs to
the object of its class that it overlaps most; it is a hit if the IoU is at least 0.5
and the object has no hit yet, and false if it has one or the IoU is lower. Difficult
objects are not counted, and a detection that belongs to one is neither hit nor false.

`VOC_AP` is the area under the precision that does not rise with recall (VOC 2010 and
later), `VOC07_AP` the mean of its values at recalls 0, 0.1, ... 1 (VOC 2007); both are
means over the classes that have objects.

Reference: Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010,
and its development kit (`VOCevaldet.m`). Departures: boxes are continuous, where the
kit adds 1 to width and height; recalls are compared exactly; at most 100 detections
per image and class take part, as everywhere here. VOC knows no crowds: of other
sets, a detection that would be false is not counted if at least half of it lies in a
crowd of its class or in an area of unknown content, and a crowd does not count as missed.
"""

from collections.abc import Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, check_records, same_class
from mkd_tf.schemas.training import VocMetrics

VOC_METRICS = tuple(VocMetrics.__annotations__)
_MIN_IOU = 0.5
_MIN_IN_CROWD = 0.5


def overlaps(found: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns IoU, and the share of each detection `[D, 4]` that lies in each box `[M, 4]`: `[D, M]`."""
    low = np.maximum(found[:, None, :2], boxes[None, :, :2])
    high = np.minimum(found[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas, others = (np.prod(b[:, 2:] - b[:, :2], axis=-1) for b in (found, boxes))
    union = areas[:, None] + others[None] - shared
    return shared / np.maximum(union, 1e-12), shared / np.maximum(areas[:, None], 1e-12)


def _match(truth: Truth, found: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Returns the object that each detection of an image overlaps enough, -1 for none, and
    whether it lies in a crowd: `[D]` int and `[D]` bool.
    """
    size = [truth.height, truth.width, truth.height, truth.width]
    ious, shares = overlaps(found.boxes.astype("float64") * size, truth.boxes)
    same = same_class(found.labels, truth.labels)
    in_crowd = np.any(same & truth.is_crowd & (shares >= _MIN_IN_CROWD), axis=1)
    # The column of zeros stands for no object at all.
    candidates = np.pad(np.where(same & ~truth.is_crowd, ious, 0.0), ((0, 0), (0, 1)))
    nearest = candidates.argmax(1)
    enough = candidates[np.arange(len(nearest)), nearest] >= _MIN_IOU
    return np.where(enough, nearest, -1), in_crowd


def _class_ap(scores: np.ndarray, owners: np.ndarray, neutral: np.ndarray, count: int) -> tuple[float, float]:
    """Returns the average precision of one class in 0..1, by area and by 11 points.

    `owners` are unique over all images, -1 for none. What is `neutral` is not counted unless
    it is a hit; a detection of a difficult object is neutral and has no owner.
    """
    order = np.argsort(-scores, kind="stable")
    owners, neutral = owners[order], neutral[order]
    hit = np.zeros(len(order), bool)
    hit[np.unique(owners, return_index=True)[1]] = True
    hit &= owners >= 0
    hits = np.cumsum(hit)
    counted = np.cumsum(hit | ~neutral)
    precision = hits / np.maximum(counted, 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(best_from[hit])) / count
    # Recall hits / count reaches k / 10 first where 10 hits reach k count: whole numbers.
    first = np.searchsorted(10 * hits, np.arange(11) * count)
    points = np.append(best_from, 0.0)[np.minimum(first, len(hits))]
    return area, float(np.mean(points))


def voc_metrics(
    truth: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str]
) -> VocMetrics:
    """Measures detections against the truth.

    Args:
      truth: one record per image, with or without objects.
      detections: what was found in each, in the same order; boxes as fractions.
      class_names: the C names, in the order of the labels.

    Returns:
      `VOC_AP` and `VOC07_AP`, 0..100; None where no object could be found.

    Raises:
      MkdError: if lengths differ.
    """
    check_records(truth, detections)
    owners, neutral, first = [], [], 0
    for t, d in zip(truth, detections, strict=True):
        owner, in_crowd = _match(t, d)
        is_difficult = np.append(t.is_difficult, False)[owner]
        neutral.append(is_difficult | in_crowd)
        owners.append(np.where((owner < 0) | is_difficult, -1, first + owner))
        first += len(t.labels)
    scores = np.concatenate([d.scores for d in detections])
    labels = np.concatenate([d.labels for d in detections])
    all_owners, all_neutral = np.concatenate(owners), np.concatenate(neutral)
    counted = np.concatenate([t.labels[~(t.is_difficult | t.is_crowd)] for t in truth])
    found = []
    for label in range(len(class_names)):
        count, mine = int(np.sum(counted == label)), labels == label
        if count:
            found.append(_class_ap(scores[mine], all_owners[mine], all_neutral[mine], count))
    means = 100 * np.mean(found, axis=0) if found else (None, None)
    area, points = (None if m is None else float(m) for m in means)
    return {"VOC_AP": area, "VOC07_AP": points}
