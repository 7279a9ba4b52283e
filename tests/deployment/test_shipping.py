"""The thresholds of the file that ships: as high as next to no AP allows."""

import numpy as np
import pytest

from mkd_tf.deployment import shipping
from mkd_tf.deployment.shipping import Found, choose_threshold, first, shipped
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics

BOX = [0.1, 0.1, 0.5, 0.5]
NAMES = ("cell",)


def _found(scores_per_image, objects=1):
    """Images of one object, and detections: all on it where the score is above 0.2, else beside it."""
    truth, detections = [], []
    for i, scores in enumerate(scores_per_image):
        nothing = np.zeros(objects, bool)
        pixels = np.tile(np.float32([BOX]) * 100, (objects, 1))
        truth.append(Truth(str(i), 100, 100, pixels, np.zeros(objects, int), nothing, nothing))
        boxes = np.float32([BOX if s > 0.2 else [0.6, 0.6, 0.9, 0.9] for s in scores])
        detections.append(
            Detections(boxes.reshape(-1, 4), np.float32(scores), np.zeros(len(scores), "int32"))
        )
    return Found(truth, detections, coco_metrics(truth, detections, NAMES)["AP"])


def _point(value):
    return {"value": value, "f1": 1.0, "chosen": "so", "per_class": {}}


def test_what_a_higher_threshold_returns():
    found = Detections(np.zeros((3, 4), "float32"), np.float32([0.9, 0.3, 0.1]), np.zeros(3, "int32"))
    assert first(found, 0.3, 25).scores.tolist() == np.float32([0.9, 0.3]).tolist()
    assert first(found, 0.01, 1).scores.tolist() == np.float32([0.9]).tolist()


def test_the_highest_threshold_that_costs_nothing_and_is_not_above_the_operating_point():
    # Four images are found at 0.9, 0.8, 0.7 and 0.45; what is below 0.2 lies beside the object.
    found = _found([[0.9, 0.1], [0.8, 0.15], [0.7], [0.45]])
    assert choose_threshold([found], NAMES, _point(0.6), 25) == (0.45, 0.0)
    assert choose_threshold([found], NAMES, _point(0.4045), 25) == (0.4, 0.0)
    # Without one, the default score of clients.
    assert choose_threshold([found], NAMES, None, 25) == (0.3, 0.0)


def test_every_set_counts():
    sets = [_found([[0.9], [0.8]]), _found([[0.9], [0.25]])]
    assert choose_threshold(sets[:1], NAMES, _point(0.5), 25)[0] == 0.5
    assert choose_threshold(sets, NAMES, _point(0.5), 25)[0] == 0.25
    nothing = Found((), (), None)
    assert choose_threshold([sets[0], nothing], NAMES, _point(0.5), 25)[0] == 0.5


def test_a_small_cost_is_allowed(monkeypatch):
    found = _found([[0.9], [0.8], [0.7], [0.25]])
    assert found.ap == pytest.approx(100)
    monkeypatch.setattr(shipping, "LARGEST_COST", 30.0)
    threshold, cost = choose_threshold([found], NAMES, _point(0.5), 25)
    # 3 of 4 objects: the precision is 1 up to a recall of 0.75, which is 76 of 101 recalls.
    assert threshold == 0.5
    assert cost == pytest.approx(100 * (1 - 76 / 101))


def test_too_few_detections_are_told_by_their_cost():
    found = _found([[0.9, 0.8]], objects=1)
    two = Found(
        [
            Truth(
                "0",
                100,
                100,
                np.float32([[10, 10, 50, 50], [60, 60, 90, 90]]),
                *[np.zeros(2, int)] * 1,
                np.zeros(2, bool),
                np.zeros(2, bool),
            )
        ],
        [Detections(np.float32([BOX, [0.6, 0.6, 0.9, 0.9]]), np.float32([0.9, 0.8]), np.zeros(2, "int32"))],
        100.0,
    )
    assert shipped((None, 1), [found], NAMES, _point(0.5))["cost"] == 0
    told = shipped((None, 1), [two], NAMES, _point(0.5))
    assert told["score_threshold"] == 0.01
    assert told["cost"] == pytest.approx(100 * (1 - 51 / 101))
    assert told["AP"] == pytest.approx(100 * 51 / 101)


def test_a_given_threshold_is_kept():
    found = _found([[0.9], [0.25]])
    told = shipped((0.5, 200), [found], NAMES, _point(0.2))
    assert (told["score_threshold"], told["max_detections"]) == (0.5, 100)
    assert told["AP"] == pytest.approx(100 * 51 / 101)


def test_the_fewest_detections_that_cost_little():
    crowd = 30
    boxes = np.float32([[i / crowd, 0.1, (i + 0.9) / crowd, 0.9] for i in range(crowd)])
    nothing, labels = np.zeros(crowd, bool), np.zeros(crowd, "int32")
    truth = [Truth("0", 100, 100, boxes * 100, labels.astype(int), nothing, nothing)]
    scores = np.linspace(0.9, 0.5, crowd, dtype="float32")
    found = Found(truth, [Detections(boxes, scores, labels)], 100.0)
    # 25 of 30 objects would lose a sixth of the recall; with 50, no score from 0.4 on is lost.
    told = shipped((None, None), [found], NAMES, _point(0.4))
    assert (told["score_threshold"], told["max_detections"], told["cost"]) == (0.4, 50, 0.0)
    assert shipped((0.2, None), [found], NAMES, _point(0.4))["max_detections"] == 50
    assert shipped((None, 25), [found], NAMES, _point(0.4))["cost"] == pytest.approx(100 * (1 - 84 / 101))
    few = _found([[0.9], [0.8]])
    assert shipped((None, None), [few], NAMES, _point(0.4))["max_detections"] == 25
    # Where a threshold alone costs too much, more detections change nothing.
    assert shipped((0.85, None), [few], NAMES, _point(0.4))["max_detections"] == 25
