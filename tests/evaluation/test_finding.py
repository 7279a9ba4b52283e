"""What the best detections of a split find: worked by hand."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.finding import found

A, B, C, FAR = [0, 0, 50, 50], [50, 50, 100, 100], [0, 50, 50, 100], [50, 0, 60, 10]


def truth(boxes, crowd=()):
    nothing = np.zeros(len(boxes), bool)
    is_crowd = np.isin(np.arange(len(boxes)), crowd)
    return Truth("t", 100, 100, np.array(boxes, float).reshape(-1, 4), nothing.astype(int), nothing, is_crowd)


def detected(boxes, scores):
    scores = np.array(scores, "float32")
    return Detections(np.array(boxes, "float32").reshape(-1, 4) / 100, scores, np.zeros(len(scores), "int32"))


# By score: A right, wrong, C right, B right, wrong. The detection of the crowd does not count.
TRUTH = [truth([A, B, FAR], crowd=[2]), truth([C])]
DETECTIONS = [detected([A, FAR, B], [0.9, 0.85, 0.4]), detected([FAR, C, A], [0.7, 0.6, 0.3])]


@pytest.mark.parametrize(
    ("at", "objects", "threshold", "detections", "precision"),
    [
        ({"threshold": 0.6}, [True, False, True], 0.6, 3, 2 / 3),
        ({"threshold": 0.61}, [True, False, False], 0.61, 2, 1 / 2),
        ({"threshold": 0.95}, [False] * 3, 0.95, 0, None),
        ({"count": 1}, [True, False, False], 0.9, 1, 1.0),
        ({"count": 4}, [True, True, True], 0.4, 4, 3 / 4),
        ({"count": 99}, [True, True, True], 0.3, 5, 3 / 5),
        ({"count": 0}, [False] * 3, None, 0, None),
        # 1, 1/2, 2/3, 3/4, 3/5: the lowest score that keeps the precision counts, not the first loss.
        ({"precision": 1.0}, [True, False, False], 0.9, 1, 1.0),
        ({"precision": 0.7}, [True, True, True], 0.4, 4, 3 / 4),
        ({"precision": 3 / 4}, [True, True, True], 0.4, 4, 3 / 4),
        ({"precision": 0.0}, [True, True, True], 0.3, 5, 3 / 5),
    ],
)
def test_worked_by_hand(at, objects, threshold, detections, precision):
    made = found(DETECTIONS, TRUTH, **at)
    assert made.objects.tolist() == objects
    assert made.record() == {
        "found": sum(objects),
        "threshold": threshold if threshold is None else pytest.approx(threshold),
        "detections": detections,
        "precision": precision if precision is None else pytest.approx(precision),
    }


def test_equal_scores_are_at_a_precision_together():
    # A is right and FAR wrong at one score: without the tie, A alone would be at precision 1.
    both = found([detected([A, FAR], [0.5, 0.5])], [truth([A])], precision=0.9)
    assert (both.detections, both.objects.tolist()) == (0, [False])


def test_nothing_at_all():
    nothing = found([detected([], [])], [truth([])], precision=0.5)
    assert (nothing.detections, nothing.threshold, nothing.precision) == (0, None, None)


@pytest.mark.parametrize("at", [{}, {"threshold": 0.5, "count": 3}])
def test_one_of_the_three_is_given(at):
    with pytest.raises(MkdError, match="found: expected a threshold, a count or a precision, got threshold="):
        found(DETECTIONS, TRUTH, **at)
