"""Areas of unknown content in evaluation: what is found there is neither true nor false."""

import numpy as np
import pytest

from mkd_tf.data.base import WHOLE, annotation
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.beyond import beyond
from mkd_tf.evaluation.coco import ANY_CLASS, Truth, coco_metrics, same_class
from mkd_tf.evaluation.matching import Ranking, take_objects
from mkd_tf.evaluation.voc import voc_metrics
from mkd_tf.experiments.matching import match_all
from mkd_tf.reporting.judging import confusion, judge

NAMES = ("cat", "dog")
A, B, C = [0, 0, 0.2, 0.2], [0.3, 0.3, 0.5, 0.5], [0.6, 0.6, 0.8, 0.8]


def truth(unknown, boxes=(A,), labels=(0,)):
    return Truth.of(annotation((100, 200), "a", np.float32(boxes), np.int32(labels), unknown=unknown))


def found(*boxes, labels=None):
    count = len(boxes)
    scores = np.linspace(0.9, 0.5, count).astype("float32")
    return Detections(np.float32(boxes), scores, np.int32(labels or [0] * count))


# The false detections come first: they would halve the precision.
FALSE_FIRST = found(B, C, A, labels=[0, 1, 0])


def test_a_truth_has_a_row_for_every_area():
    made = truth([[0.25, 0.25, 0.55, 0.55], WHOLE])
    assert made.labels.tolist() == [0, ANY_CLASS, ANY_CLASS]
    assert made.is_crowd.tolist() == [False, True, True] and not made.is_difficult.any()
    assert made.boxes[1:].tolist() == [[25, 50, 55, 110], [0, 0, 100, 200]]
    assert np.isnan(made.areas).all() and len(made.areas) == 3
    assert made.named().labels.tolist() == [0]
    assert made.expanded(2).labels.tolist() == [0, 0, 1, 0, 1]
    assert truth([]).expanded(2).labels.tolist() == [0]
    assert same_class(np.array([0, 1]), made.labels).tolist() == [[True, True, True], [False, True, True]]


@pytest.mark.parametrize(
    ("unknown", "ap", "voc"),
    [
        ([], 100 / 2, 50),
        ([WHOLE], 100, 100),
        ([[0.25, 0.25, 0.55, 0.55]], 100, 100),
        ([[0.9, 0.9, 1, 1]], 50, 50),
    ],
)
def test_detections_in_it_do_not_count(unknown, ap, voc):
    """Of class cat: B is false unless it lies in an unknown area, A is right."""
    images, detections = [truth(unknown)], [FALSE_FIRST]
    assert coco_metrics(images, detections, NAMES)["AP"] == pytest.approx(ap)
    assert voc_metrics(images, detections, NAMES)["VOC_AP"] == pytest.approx(voc)
    # An area is no object of any class: dogs have none.
    assert coco_metrics(images, detections, NAMES)["per_class"]["dog"] is None


def test_objects_in_it_count():
    assert coco_metrics([truth([WHOLE])], [found(B)], NAMES)["AP"] == 0
    assert coco_metrics([truth([WHOLE])], [found(A)], NAMES)["AP"] == pytest.approx(100)


def test_every_way_of_matching_agrees():
    images, detections = [truth([WHOLE])], [FALSE_FIRST]
    assert take_objects(images[0], FALSE_FIRST, 0.5).tolist() == [1, 1, 0]
    ranking = Ranking.of(images, detections, 0.5)
    assert (ranking.owners.tolist(), ranking.object_labels.tolist()) == ([0], [0])
    matches = match_all(images, detections, 2)
    assert matches.objects.tolist() == [[1, 0]]
    cats = matches.label == 0
    assert matches.ignored[cats].all(axis=1).tolist() == [True, False]
    assert matches.ignored[~cats].all() and not matches.right[~cats].any()
    judged = judge(images, detections, 2)
    assert (judged.right.tolist(), judged.objects.tolist()) == ([True], [1, 0])
    assert confusion(images, detections, 0.1, 2).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert beyond(images, detections, detections, NAMES, 0.1, 0.1)["both"] == 1
