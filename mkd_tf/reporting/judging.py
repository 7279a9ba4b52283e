"""What the curves, the confusion matrix and the calibration of a report are computed from.

A detection is right if it takes an object of its class by an IoU of at least 0.5
(`evaluation.matching.take_objects`); one of a difficult object or a crowd does not count.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.matching import Ranking, take_objects
from mkd_tf.evaluation.operating_point import OVERLAP
from mkd_tf.evaluation.voc import overlaps

RECALLS = np.linspace(0, 1, 101)
THRESHOLDS = np.linspace(0, 1, 101)


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """The detections of a split that count, by falling score.

    Attributes:
      scores: `[D]` float32, compared as such: a threshold of 0.7 takes a score of 0.7.
      labels: `[D]` int.
      right: `[D]` bool.
      objects: `[C]` int, objects of each class that count.
    """

    scores: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    objects: np.ndarray

    def of_class(self, label: int) -> "Judged":
        """Returns the detections and objects of one class."""
        mine = self.labels == label
        return Judged(self.scores[mine], self.labels[mine], self.right[mine], self.objects[label : label + 1])

    def at(self, threshold: float) -> tuple[int, int, int]:
        """Returns how many detections from a score on are right, how many there are, and the objects."""
        shown = int(np.sum(self.scores >= threshold))
        return int(np.sum(self.right[:shown])), shown, int(self.objects.sum())

    def f1_at(self, threshold: float) -> float:
        """Returns F1 = 2 TP / (detections + objects) of the detections from a score on."""
        right, shown, objects = self.at(threshold)
        return 2 * right / max(shown + objects, 1)


def taken_objects(truth: Truth, found: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Returns for the detections of an image the object of each or -1, and whether each counts, `[D]`."""
    taken = take_objects(truth, found, OVERLAP)
    # The last entry is that of detections which take nothing.
    ignored = np.append(truth.is_difficult | truth.is_crowd, False)
    return taken, ~ignored[taken]


def judge(truth: Sequence[Truth], detections: Sequence[Detections], num_classes: int) -> Judged:
    """Compares detections with the truth, image by image in the same order."""
    ranking = Ranking.of(truth, detections, OVERLAP)
    objects = np.bincount(ranking.object_labels, minlength=num_classes)
    return Judged(ranking.scores, ranking.labels, ranking.owners >= 0, objects)


def precision_at_recalls(judged: Judged) -> np.ndarray:
    """Returns the best precision at each of `RECALLS` or beyond, `[101]`; its mean is AP50 / 100.

    That is the precision of the COCO protocol (Lin et al., ECCV 2014) at IoU 0.5.
    """
    hits = np.cumsum(judged.right)
    precision = hits / np.arange(1, len(hits) + 1)
    best_from = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    recall = hits / max(int(judged.objects.sum()), 1)
    return best_from[np.searchsorted(recall, RECALLS - 1e-12)]


def f1_at_thresholds(judged: Judged) -> np.ndarray:
    """Returns F1 = 2 TP / (detections + objects) of the detections from each of `THRESHOLDS` on, `[101]`."""
    thresholds = THRESHOLDS.astype(judged.scores.dtype)
    shown = np.searchsorted(-judged.scores, -thresholds, side="right")
    hits = np.concatenate([[0], np.cumsum(judged.right)])[shown]
    return 2 * hits / np.maximum(shown + judged.objects.sum(), 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often detections of a score are right.

    Attributes:
      counts: `[M]` int, detections in each of M equal parts of 0..1.
      scores: `[M]` mean score in each, NaN where there is none.
      precision: `[M]` share of right ones in each, NaN where there is none.
    """

    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray

    @property
    def error(self) -> float | None:
        """The expected calibration error of detections, 0..1; None without a detection.

            D-ECE = sum_m |I(m)| / |D| * |precision(m) - confidence(m)|

        Reference: Kuppers et al., "Multivariate Confidence Calibration for Object
        Detection", CVPR Workshops 2020, in its form for the score alone.
        """
        total = self.counts.sum()
        gaps = np.nan_to_num(np.abs(self.precision - self.scores))
        return float(np.sum(self.counts * gaps) / total) if total else None


def reliability(judged: Judged, lowest: float = 0.0, bins: int = 10) -> Reliability:
    """Sorts the detections with a score of at least `lowest` into `bins` equal parts of 0..1."""
    kept = judged.scores >= lowest
    scores, right = judged.scores[kept].astype("float64"), judged.right[kept]
    place = np.minimum((scores * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    share = np.where(counts > 0, 1.0, np.nan) / np.maximum(counts, 1)
    return Reliability(
        counts,
        np.bincount(place, weights=scores, minlength=bins) * share,
        np.bincount(place, weights=right, minlength=bins) * share,
    )


def confusion(
    truth: Sequence[Truth], detections: Sequence[Detections], threshold: float, num_classes: int
) -> np.ndarray:
    """Counts which class is detected for objects of which.

    By falling score, each detection of at least `threshold` takes the free object that it
    overlaps most, by an IoU of at least 0.5, whatever its class. Difficult objects and
    crowds do not count, and neither do detections that take one.

    Returns:
      `[C + 1, C + 1]` int: rows are the true classes and columns the detected ones; the last
      row has detections without an object, the last column objects without a detection.
    """
    found = np.zeros((num_classes + 1, num_classes + 1), int)
    for t, d in zip(truth, detections, strict=True):
        shown = d.above(threshold)
        size = [t.height, t.width, t.height, t.width]
        ious, shares = overlaps(shown.boxes.astype("float64") * size, t.boxes)
        overlap = np.where(t.is_crowd, shares, ious)
        ignored, free = t.is_difficult | t.is_crowd, np.ones(len(t.labels), bool)
        for i in np.argsort(-shown.scores, kind="stable"):
            fits = np.flatnonzero(free & (overlap[i] >= OVERLAP))
            # An object that counts goes before one that does not.
            best = max(fits, key=lambda j: (not ignored[j], overlap[i, j]), default=-1)
            if best < 0:
                found[num_classes, shown.labels[i]] += 1
                continue
            free[best] = bool(t.is_crowd[best])
            if not ignored[best]:
                found[t.labels[best], shown.labels[i]] += 1
        np.add.at(found, (t.labels[free & ~ignored], num_classes), 1)
    return found
