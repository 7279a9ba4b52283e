"""Detections as outputs of a network, against slow references and values worked by hand."""

import keras
import numpy as np
import pytest

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import targets
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.from_detections import (
    SAME_PLACE,
    different_grids,
    joined_anchors,
    outputs_at_anchors,
    places,
)

ANCHORS = grid_anchors(64)


def iou(a, b):
    height, width = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


def places_by_loops(boxes, scores, labels, num_classes):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        if all(iou(boxes[i], boxes[k]) <= SAME_PLACE for k in kept):
            kept.append(i)
    table = np.zeros((len(kept), num_classes))
    for row, k in enumerate(kept):
        for i in order:
            if i == k or iou(boxes[i], boxes[k]) > SAME_PLACE:
                table[row, labels[i]] = max(table[row, labels[i]], scores[i])
    return np.array([boxes[k] for k in kept]), table


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(8, 24, (count, 2))], axis=1).astype("float32")
    # Every second one lies almost on the one before it.
    boxes[1::2] = boxes[::2] + rng.uniform(-1, 1, (count // 2, 4))
    return boxes, rng.uniform(0.1, 0.9, count).astype("float32"), rng.integers(0, 3, count).astype("int32")


def test_places_by_hand():
    # The first two are one place, its third class undetected; the last is another.
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    found, scores = places(boxes, np.float32([0.5, 0.75, 0.25]), np.int32([0, 1, 0]), 3)
    assert found.tolist() == [[0, 0, 10, 9], [20, 20, 30, 30]]
    assert scores.tolist() == [[0.5, 0.75, 0], [0.25, 0, 0]]
    none = places(boxes[:0], np.float32([]), np.int32([]), 3)
    assert (none[0].shape, none[1].shape) == ((0, 4), (0, 3))


@pytest.mark.parametrize("seed", range(3))
def test_places_are_those_of_the_loops(seed):
    boxes, scores, labels = drawn(12, seed)
    found, table = places(boxes, scores, labels, 3)
    expected, expected_table = places_by_loops(boxes, scores, labels, 3)
    assert 3 <= len(found) < 12
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(table, expected_table, rtol=1e-6)


def outputs(boxes, table, grid=ANCHORS):
    most = table.max(axis=1, initial=0).astype("float32")
    rows = np.arange(len(table), dtype="int32")
    profiles = (table / np.maximum(most, 1e-9)[:, None]).astype("float32")
    found = outputs_at_anchors(grid, boxes[None].astype("float32"), rows[None], most[None], profiles)
    return {name: np.array(value[0]) for name, value in found.items()}


def test_an_anchor_gets_the_scores_and_the_box_of_its_place():
    # The anchor of cell (1, 1) of the first level is (-4, -4, 28, 28): this box is its own.
    box, table = np.float32([[-4, -4, 28, 28]]), np.array([[0.5, 0.2, 0.0]])
    found = outputs(box, table)
    own = 1 * 8 + 1
    assert found["matched"][own] == 1
    np.testing.assert_allclose(found["box_encodings"][own], 0, atol=1e-6)
    probabilities = 1 / (1 + np.exp(-found["class_logits"]))
    np.testing.assert_allclose(probabilities[own], [0.5, 0.2, 0.0], atol=2e-6)
    # log(0.2 / 0.8)
    np.testing.assert_allclose(found["class_logits"][own, 1], -1.3862944, rtol=1e-5)
    away = found["matched"] == 0
    assert away.any()
    assert np.isfinite(found["class_logits"]).all()
    np.testing.assert_allclose(found["box_encodings"][away], 0, atol=1e-6)


def test_outputs_are_those_of_the_assignment():
    boxes, table = places(*drawn(12), 3)
    found = outputs(boxes, table)
    labels, weights = np.arange(len(table), dtype="int32")[None], np.ones((1, len(table)), "float32")
    assigned = {
        k: np.array(v)[0] for k, v in targets.assign(ANCHORS, boxes[None], labels, weights, 99).items()
    }
    decoded = np.array(box_math.decode(found["box_encodings"][None], ANCHORS.centers_and_sizes()))[0]
    assert found["matched"].sum() >= len(table)
    for anchor in range(len(ANCHORS)):
        row = assigned["labels"][anchor]
        assert found["matched"][anchor] == (row < 99)
        if row < 99:
            np.testing.assert_allclose(decoded[anchor], boxes[row], atol=1e-3)
            probabilities = 1 / (1 + np.exp(-found["class_logits"][anchor].astype("float64")))
            np.testing.assert_allclose(probabilities, table[row], atol=2e-6)


def test_without_places_nothing_is_matched():
    found = outputs(np.zeros((1, 4)), np.zeros((1, 3)))
    assert found["matched"].sum() == 0
    empty = outputs_at_anchors(
        ANCHORS,
        np.zeros((2, 1, 4), "float32"),
        np.zeros((2, 1), "int32"),
        np.zeros((2, 1), "float32"),
        np.zeros((0, 3), "float32"),
    )
    assert keras.ops.shape(empty["class_logits"]) == (2, len(ANCHORS), 3)
    assert float(keras.ops.sum(empty["matched"])) == 0


def test_grids_that_differ_are_joined_once():
    same, large = grid_anchors(64), grid_anchors(128)
    assert different_grids({"student": ANCHORS, "guide": same}) == [ANCHORS]
    assert joined_anchors([ANCHORS]) is ANCHORS
    grids = different_grids({"student": ANCHORS, "guide": large})
    joined = joined_anchors(grids)
    assert (len(joined), joined.image_size) == (len(ANCHORS) + len(large), 64)
    assert joined.level_counts == ANCHORS.level_counts + large.level_counts
    np.testing.assert_allclose(joined.normalized()[len(ANCHORS) :], large.normalized(), atol=1e-6)
