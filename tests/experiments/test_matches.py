"""Matches: AP from them is COCO's, on the split as it is and on images that come several times."""

import numpy as np
import pytest

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics
from mkd_tf.experiments.matches import Matches, average_precision
from mkd_tf.experiments.matching import match_all

CLASSES = ("a", "b", "c")
SIDE = 200


def split(seed: int, count: int = 12) -> tuple[list[Truth], list[Detections]]:
    """Images with up to 6 objects, some crowds or difficult, and detections near them and elsewhere."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for index in range(count):
        number = rng.integers(0, 7)
        low = rng.integers(0, 120, (number, 2))
        boxes = np.concatenate([low, low + rng.integers(10, 80, (number, 2))], axis=1).astype("float64")
        labels = rng.integers(0, len(CLASSES), number).astype("int32")
        crowd, difficult = rng.random(number) < 0.15, rng.random(number) < 0.15
        truth.append(Truth(f"{index}", SIDE, SIDE, boxes, labels, difficult, crowd & ~difficult))
        near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 5, (3 * number, 4))
        far = rng.uniform(0, 100, (4, 2))
        other = np.concatenate([far, far + rng.uniform(5, 90, (4, 2))], axis=1)
        all_boxes = np.clip(np.concatenate([near, other]), 0, SIDE)
        all_labels = np.concatenate([np.repeat(labels, 3), rng.integers(0, len(CLASSES), 4)]).astype("int32")
        fits = np.all(all_boxes[:, 2:] > all_boxes[:, :2], axis=1)
        all_boxes, all_labels = all_boxes[fits], all_labels[fits]
        scores = rng.random(len(all_labels)).astype("float32")
        order = np.argsort(-scores)
        boxes32 = (all_boxes[order] / SIDE).astype("float32")
        found.append(Detections(boxes32, scores[order], all_labels[order]))
    return truth, found


@pytest.mark.parametrize("seed", range(6))
def test_ap_of_the_split_as_it_is_equals_coco(seed):
    truth, found = split(seed)
    expected = coco_metrics(truth, found, CLASSES)["AP"]
    matches = match_all(truth, found, len(CLASSES))
    assert average_precision(matches, np.ones((1, len(truth))))[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repeated_images(seed):
    truth, found = split(seed)
    matches = match_all(truth, found, len(CLASSES))
    weights = np.random.default_rng(seed).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), 5)
    for row, ap in zip(weights, average_precision(matches, weights), strict=True):
        chosen = np.repeat(np.arange(len(truth)), row)
        expected = coco_metrics([truth[i] for i in chosen], [found[i] for i in chosen], CLASSES)["AP"]
        assert ap == pytest.approx(expected, abs=1e-9)


def test_classes_and_splits_without_objects():
    truth, found = split(0)
    matches = match_all(truth, found, len(CLASSES) + 1)
    everything = np.ones((1, len(truth)))
    assert average_precision(matches, everything) == pytest.approx(
        coco_metrics(truth, found, (*CLASSES, "d"))["AP"]
    )
    empty = [i for i, t in enumerate(truth) if not (~(t.is_crowd | t.is_difficult)).any()]
    assert np.isnan(average_precision(matches, np.zeros((1, len(truth))))[0])
    assert len(empty) < len(truth)


def test_value_by_hand():
    # Of one class: a hit in image 0, a false one in image 1, a hit in image 2, at every overlap.
    right = np.repeat([[True], [False], [True]], 10, axis=1)
    matches = Matches(
        np.array([0, 1, 2], "int32"),
        np.zeros(3, "int32"),
        np.array([0.9, 0.8, 0.7], "float32"),
        right,
        np.zeros_like(right),
        np.array([[1], [0], [1]], "int32"),
    )
    weights = np.array([[1, 1, 1], [1, 3, 1], [0, 1, 2], [2, 0, 0]])
    # Precision 1 up to recall 0.5 (51 of 101 recalls), then 2 / 3 or 2 / 5; 2 / 3 everywhere; 1 everywhere.
    expected = [100 * (51 + 50 * 2 / 3) / 101, 100 * (51 + 50 * 2 / 5) / 101, 200 / 3, 100]
    assert average_precision(matches, weights) == pytest.approx(expected)


def test_a_file_holds_all_of_it(tmp_path):
    matches = match_all(*split(1), len(CLASSES))
    matches.save(tmp_path / "matches.npz")
    again = Matches.load(tmp_path / "matches.npz")
    for name, value in vars(matches).items():
        assert np.array_equal(getattr(again, name), value), name
        assert getattr(again, name).dtype == value.dtype
