"""The recommended threshold: worked by hand, against trying every threshold, and at the edges."""

import numpy as np
import pytest

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.operating_point import best_f1, default_point, operating_point


def truth(boxes, labels, difficult=(), crowd=()):
    count = len(labels)
    flags = [np.isin(np.arange(count), which) for which in (difficult, crowd)]
    return Truth("t", 100, 200, np.array(boxes, float).reshape(-1, 4), np.array(labels, int), *flags)


def found(boxes, scores, labels):
    fractions = np.array(boxes, "float32").reshape(-1, 4) / np.array([100, 200, 100, 200], "float32")
    return Detections(fractions, np.array(scores, "float32"), np.array(labels, "int32"))


A, B, FAR = [10, 10, 50, 50], [60, 100, 90, 180], [0, 150, 20, 190]


def test_worked_by_hand():
    # By score: right, wrong, right, wrong. F1: 2/3, 2/4, 4/5, 4/6 with two objects.
    image = found([A, FAR, B, FAR], [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 0])
    assert best_f1([truth([A, B], [0, 1])], [image]) == (pytest.approx(0.7, abs=1e-4), pytest.approx(0.8))
    assert best_f1([truth([A, B], [0, 1])], [image])[0] <= np.float32(0.7)


def test_classes_have_thresholds_of_their_own_beside_the_common_one():
    # Class 0: right at 0.9, wrong at 0.8. Class 1: right at 0.3. Class 2 has an object and no
    # detection. Together F1 is 2/4, 2/5, 4/6 with three objects.
    image = found([A, FAR, B], [0.9, 0.8, 0.3], [0, 0, 1])
    point = operating_point([truth([A, B, FAR], [0, 1, 2])], [image], ("x", "y", "z"))
    assert point["value"] == pytest.approx(0.3, abs=1e-4) and point["f1"] == pytest.approx(2 / 3)
    assert point["per_class"] == {
        "x": pytest.approx(0.9, abs=1e-4),
        "y": pytest.approx(0.3, abs=1e-4),
        "z": None,
    }
    assert "validation" in point["chosen"]


def test_a_detector_that_is_never_right_has_no_point():
    assert operating_point([truth([A], [0])], [found([FAR], [0.9], [0])], ("x",)) is None
    point = default_point("why")
    assert point == {"value": 0.3, "f1": 0.0, "chosen": "a default: why", "per_class": {}}


def test_a_second_detection_of_an_object_and_another_class_are_wrong():
    twice = found([A, A], [0.9, 0.8], [0, 0])
    assert best_f1([truth([A], [0])], [twice]) == (pytest.approx(0.9, abs=1e-4), 1.0)
    other = found([A, A], [0.9, 0.8], [1, 0])
    assert best_f1([truth([A], [0])], [other])[1] == pytest.approx(2 / 3)


def test_the_better_detection_takes_the_object_in_any_order():
    image = found([[10, 10, 50, 45], A], [0.5, 0.9], [0, 0])
    assert best_f1([truth([A], [0])], [image]) == (pytest.approx(0.9, abs=1e-4), 1.0)


def test_an_iou_below_a_half_is_wrong():
    # 40 x 40 against the same with 19 rows: IoU 0.475.
    assert best_f1([truth([A], [0])], [found([[10, 10, 29, 50]], [0.9], [0])]) is None


def test_difficult_objects_and_crowds_count_neither_way():
    image = found([A, A, B, B], [0.9, 0.5, 0.8, 0.7], [0, 0, 1, 1])
    one = truth([A, B], [0, 1], difficult=[0])
    # A's first is not counted, its second is wrong; B's first is right: F1 1 at 0.8.
    assert best_f1([one], [image]) == (pytest.approx(0.8, abs=1e-4), 1.0)
    crowd = truth([A, B], [0, 1], crowd=[1])
    # Any number in a crowd is left out.
    assert best_f1([crowd], [image]) == (pytest.approx(0.9, abs=1e-4), 1.0)
    only_crowd = found([B, B], [0.8, 0.7], [1, 1])
    assert best_f1([crowd], [only_crowd]) is None


def test_what_lies_in_a_crowd_is_its_own_though_the_box_is_far_larger():
    crowd, alone = [0, 0, 100, 100], [10, 110, 50, 150]
    within = [[0, 0, 20, 20], [40, 40, 60, 60], [80, 80, 100, 100]]
    image = truth([crowd, alone], [0, 0], crowd=[0])
    detections = found([*within, alone], [0.9, 0.8, 0.7, 0.6], [0] * 4)
    assert best_f1([image], [detections]) == (pytest.approx(0.6, abs=1e-4), 1.0)
    # In a crowd of another class, or by less than half, they are wrong.
    other = truth([crowd, alone], [1, 0], crowd=[0])
    assert best_f1([other], [detections])[1] == pytest.approx(2 / 5)
    outside = found([[0, 91, 20, 111], alone], [0.9, 0.6], [0, 0])
    assert best_f1([image], [outside])[1] == pytest.approx(2 / 3)
    # And an object that is no crowd is not found by a part of it.
    assert best_f1([truth([crowd], [0])], [found(within, [0.9, 0.8, 0.7], [0] * 3)]) is None


def test_an_object_that_counts_comes_before_a_difficult_one_that_fits_better():
    image = truth([A, [10, 10, 50, 45]], [0, 0], difficult=[0])
    assert best_f1([image], [found([A], [0.9], [0])]) == (pytest.approx(0.9, abs=1e-4), 1.0)


def test_equal_scores_stand_or_fall_together():
    image = found([A, FAR], [0.5, 0.5], [0, 0])
    assert best_f1([truth([A], [0])], [image])[1] == pytest.approx(2 / 3)


def test_images_without_objects_or_detections():
    empty = found([], [], [])
    assert best_f1([truth([], [])], [empty]) is None
    assert best_f1([truth([A], [0])], [empty]) is None
    assert best_f1([truth([], [])], [found([A], [0.9], [0])]) is None
    both = [truth([A], [0]), truth([], [])], [found([A], [0.9], [0]), found([A], [0.95], [0])]
    assert best_f1(*both)[1] == pytest.approx(2 / 3)


def f1_at(threshold, truths, detections):
    """F1 by counting, object by object."""
    right = shown = objects = 0
    for t, d in zip(truths, detections, strict=True):
        objects += len(t.labels)
        taken = set()
        for i in np.argsort(-d.scores, kind="stable"):
            if d.scores[i] < threshold:
                continue
            shown += 1
            y0, x0, y1, x1 = d.boxes[i] * [100, 200, 100, 200]
            best, best_iou = None, 0.5
            for j, (a0, b0, a1, b1) in enumerate(t.boxes):
                if j in taken or t.labels[j] != d.labels[i]:
                    continue
                both = max(0, min(y1, a1) - max(y0, a0)) * max(0, min(x1, b1) - max(x0, b0))
                iou = both / ((y1 - y0) * (x1 - x0) + (a1 - a0) * (b1 - b0) - both)
                if iou >= best_iou:
                    best, best_iou = j, iou
            if best is not None:
                taken.add(best)
                right += 1
    return 2 * right / (shown + objects)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(5):
        corners = rng.uniform(0, 60, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(15, 40, (6, 2))], axis=1)
        labels = rng.integers(0, 2, 6)
        truths.append(truth(boxes, labels))
        moved = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), boxes[:3] + 40])
        scores = rng.integers(1, 20, 9) / 20
        detections.append(found(moved, scores, [*labels, *labels[:3]]))
    threshold, f1 = best_f1(truths, detections)
    every = {
        s: f1_at(s, truths, detections) for s in np.unique(np.concatenate([d.scores for d in detections]))
    }
    assert f1 == pytest.approx(max(every.values()))
    assert f1_at(threshold, truths, detections) == pytest.approx(f1)
