"""What curves, matrices and calibration are computed from, against loops and values worked by hand."""

import numpy as np
import pytest

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics
from mkd_tf.evaluation.operating_point import best_f1
from mkd_tf.reporting.judging import (
    RECALLS,
    THRESHOLDS,
    Judged,
    confusion,
    f1_at_thresholds,
    judge,
    precision_at_recalls,
    reliability,
)
from tests.reporting.made import detections_of

ROW = [[0.0, 0.0, 0.4, 0.2], [0.0, 0.4, 0.4, 0.6], [0.0, 0.8, 0.4, 1.0]]


def truth(labels, *, difficult=(), crowd=()):
    count = len(labels)
    flags = [np.isin(np.arange(count), list(chosen)) for chosen in (difficult, crowd)]
    return Truth("a", 100, 100, np.array(ROW[:count]).reshape(-1, 4) * 100, np.array(labels, int), *flags)


def found(*rows):
    """Detections of (place in ROW or a box, label, score)."""
    boxes = [ROW[place] if isinstance(place, int) else place for place, _, _ in rows]
    return Detections(
        np.array(boxes, "float32").reshape(-1, 4),
        np.array([r[2] for r in rows], "float32"),
        np.array([r[1] for r in rows], "int32"),
    )


def some(images=30, classes=3):
    rng = np.random.default_rng(5)
    split = []
    for index in range(images):
        low = rng.uniform(0, 0.6, (4, 2))
        boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (4, 2))], 1) * 100
        labels, difficult = rng.integers(0, classes, 4), rng.random(4) < 0.1
        split.append(Truth(str(index), 100, 100, boxes, labels, difficult, np.zeros(4, bool)))
    return split, [detections_of(t, 0.7, rng, classes) for t in split]


def test_judged_by_hand():
    detections = found((0, 0, 0.9), (1, 0, 0.8), (1, 1, 0.7), (1, 1, 0.6), ([0.6, 0.6, 0.9, 0.9], 0, 0.5))
    judged = judge([truth([0, 1, 1], difficult=[2])], [detections], 3)
    assert judged.right.tolist() == [True, False, True, False, False]
    assert judged.objects.tolist() == [1, 1, 0]
    assert judged.at(0.7) == (2, 3, 2) and judged.at(0.95) == (0, 0, 2)
    assert judged.f1_at(0.7) == pytest.approx(4 / 5) and judged.f1_at(0.95) == 0
    one = judged.of_class(1)
    assert (one.right.tolist(), one.objects.tolist()) == ([True, False], [1])


def test_a_detection_of_a_difficult_object_does_not_count():
    judged = judge([truth([0, 1], difficult=[1])], [found((0, 0, 0.9), (1, 1, 0.8))], 2)
    assert judged.scores == pytest.approx([0.9]) and judged.objects.tolist() == [1, 0]


def test_precision_at_recalls_is_ap50():
    split, detections = some()
    judged = judge(split, detections, 3)
    areas = [precision_at_recalls(judged.of_class(label)).mean() for label in range(3)]
    expected = coco_metrics(split, detections, ("a", "b", "c"))["AP50"]
    assert 100 * np.mean(areas) == pytest.approx(expected, abs=1e-9)


def test_precision_at_recalls_by_hand():
    # Right, wrong, right of 4 objects: precision 1 up to a recall of 1/4, then 2/3 up to 1/2.
    judged = Judged(np.array([0.9, 0.8, 0.7]), np.zeros(3, int), np.array([True, False, True]), np.array([4]))
    curve = precision_at_recalls(judged)
    expected = np.where(RECALLS <= 0.25, 1.0, np.where(RECALLS <= 0.5, 2 / 3, 0.0))
    assert curve == pytest.approx(expected)


def test_f1_against_a_loop():
    judged = judge(*some(), 3)
    expected = []
    for threshold in THRESHOLDS:
        right, shown, objects = judged.at(threshold)
        expected.append(2 * right / (shown + objects))
    assert f1_at_thresholds(judged) == pytest.approx(expected)


def test_the_highest_f1_is_that_of_the_operating_point():
    split, detections = some()
    threshold, f1 = best_f1(split, detections)
    right, shown, objects = judge(split, detections, 3).at(threshold)
    assert 2 * right / (shown + objects) == pytest.approx(f1)


def test_curves_without_objects_or_detections():
    nothing = Judged(np.zeros(0), np.zeros(0, int), np.zeros(0, bool), np.array([0, 3]))
    assert not precision_at_recalls(nothing).any() and not f1_at_thresholds(nothing).any()
    assert reliability(nothing).error is None
    assert not f1_at_thresholds(nothing.of_class(0)).any()


def test_reliability_by_hand():
    # Two bins: 0.2 and 0.4 with one right of two, 0.9 and 1.0 with both right.
    judged = Judged(
        np.array([1.0, 0.9, 0.4, 0.2]), np.zeros(4, int), np.array([True, True, True, False]), np.array([4])
    )
    kept = reliability(judged, bins=2)
    assert kept.counts.tolist() == [2, 2]
    assert kept.scores == pytest.approx([0.3, 0.95]) and kept.precision == pytest.approx([0.5, 1.0])
    assert kept.error == pytest.approx((2 * 0.2 + 2 * 0.05) / 4)
    high = reliability(judged, lowest=0.9, bins=2)
    assert high.counts.tolist() == [0, 2] and np.isnan(high.precision[0])
    assert high.error == pytest.approx(0.05)


def test_confusion_by_hand():
    boxes = found((0, 0, 0.9), (1, 2, 0.8), ([0.6, 0.6, 0.9, 0.9], 1, 0.7), (2, 1, 0.2))
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # the object of class 0 is found
    expected[1, 2] = 1  # that of class 1 is taken for class 2
    expected[1, 3] = 1  # that at the third place is missed: its detection is below the threshold
    expected[3, 1] = 1  # a detection without an object
    assert (confusion([truth([0, 1, 1])], [boxes], 0.5, 3) == expected).all()


def test_confusion_leaves_difficult_objects_and_crowds_out():
    boxes = found((1, 1, 0.9), (2, 1, 0.8), ([0.1, 0.82, 0.3, 0.98], 1, 0.7), (0, 0, 0.6))
    matrix = confusion([truth([0, 1, 1], difficult=[1], crowd=[2])], [boxes], 0.5, 2)
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_confusion_counts_every_object_and_every_detection():
    split, detections = some()
    split = [Truth(t.image_id, 100, 100, t.boxes, t.labels, np.zeros(4, bool), t.is_crowd) for t in split]
    matrix = confusion(split, detections, 0.3, 3)
    assert matrix[:3].sum() == sum(len(t.labels) for t in split)
    assert matrix[:, :3].sum() == sum(len(d.above(0.3)) for d in detections)
    assert matrix[3, 3] == 0
