"""Assignment from the cells around a centre: the same as from all anchors, to the bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection import targets
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.detection.grid_cells import Grids, near_cells

CLASSES = 5


def answers(anchors):
    """Returns a compiled function of boxes, labels and weights: targets, and ignored anchors."""

    @tf.function(autograph=False)
    def run(boxes, labels, weights):
        found = targets.assign(anchors, boxes, labels, weights, CLASSES)
        return found | {"ignored": targets.ignored(anchors, boxes, weights, found["weights"])}

    return run


def by_all_anchors(anchors, monkeypatch, *given):
    with monkeypatch.context() as patch:
        patch.setattr(Grids, "of", lambda anchors: None)
        return answers(anchors)(*given)


def some_objects(rng, side, images=60, count=8):
    """Boxes of any size; in turns on quarters of a cell and on cells, where distances and overlaps tie."""
    low = rng.uniform(0, side, (images, count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 1, low.shape) ** 3 * (side - low)], axis=-1)
    boxes[1::4] = np.round(boxes[1::4] / 2) * 2
    boxes[2::4] = np.round(boxes[2::4] / 8) * 8
    boxes[3::8, 1] = boxes[3::8, 0]  # one object twice
    labels = rng.integers(0, CLASSES, (images, count))
    weights = rng.choice([0, 1, 0.3, 0.7, -1], (images, count))
    return boxes.astype("float32"), labels.astype("int32"), weights.astype("float32")


@pytest.mark.parametrize(
    ("size", "strides", "scale"),
    [(192, (8, 16, 32), 4.0), (64, (8, 16, 32), 4.0), (32, (8, 32), 4.0), (90, (10, 15), 3.3)],
    ids=str,
)
def test_equal_to_the_assignment_from_all_anchors(size, strides, scale, monkeypatch):
    anchors = grid_anchors(size, strides, scale)
    given = some_objects(np.random.default_rng(size), size)
    found, expected = answers(anchors)(*given), by_all_anchors(anchors, monkeypatch, *given)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert (found["labels"].numpy() < CLASSES).any()
    assert found["ignored"].numpy().any()


def test_objects_with_centres_outside_of_the_image(monkeypatch):
    anchors = grid_anchors(64)
    rng = np.random.default_rng(0)
    boxes, labels, weights = some_objects(rng, 64, images=4)
    boxes += rng.uniform(-150, 150, (4, 8, 1)).astype("float32")
    boxes[0, 0], boxes[1, 0] = np.nan, np.inf
    found = answers(anchors)(boxes, labels, weights)
    expected = by_all_anchors(anchors, monkeypatch, boxes, labels, weights)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_padding_of_any_content_stays_with_the_cells(monkeypatch):
    """Boxes of weight 0 do not lead to the comparison with all anchors, and change nothing."""
    anchors = grid_anchors(64)
    boxes, labels, weights = some_objects(np.random.default_rng(1), 64, images=4)
    weights[:, ::2] = 0
    bare = answers(anchors)(boxes, labels, weights)
    boxes[:, ::2] = np.float32([np.nan, np.inf, -np.inf, 1e9])[:, None, None]
    monkeypatch.setattr(
        targets, "_owners_of_anchors", lambda *_: (np.zeros((4, 84), "int32"), np.ones((4, 84), bool))
    )
    found = answers(anchors)(boxes, labels, weights)
    for name in bare:
        np.testing.assert_array_equal(found[name], bare[name], err_msg=name)


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 6, 7, 9, 14])
def test_the_window_holds_the_nine_nearest_and_their_ties(cells):
    """Centres on every eighth of a cell and beside it, the borders among them, against all cells."""
    anchors = grid_anchors(8 * cells, strides=(8,))
    places = np.arange(0, 8 * cells + 0.5)
    places = np.unique(np.concatenate([places, places + 1e-4, places - 1e-4]).clip(0, 8 * cells))
    centers = np.stack(np.meshgrid(places[: len(places) // 2 + 20], places, indexing="ij"), axis=-1)
    boxes = np.concatenate([centers - 2, centers + 2], axis=-1).reshape(1, -1, 4).astype("float32")
    found = near_cells(Grids.of(anchors), boxes, 9)
    mine = np.zeros((boxes.shape[1], cells**2), bool)
    numbers, chosen = (keras.ops.convert_to_numpy(x)[0] for x in (found.numbers, found.candidates))
    rows = np.broadcast_to(np.arange(len(numbers))[:, None], numbers.shape)
    mine[rows[chosen], numbers[chosen]] = True
    middle = (boxes[0, :, :2] + boxes[0, :, 2:]) / 2
    away = ((middle[:, None] - anchors.centers_and_sizes()[None, :, :2]) ** 2).sum(axis=-1)
    ninth = np.sort(away, axis=1)[:, min(9, cells**2) - 1, None]
    np.testing.assert_array_equal(mine, away <= ninth * (1 + 1e-5) + 1e-3)
    assert (chosen.sum(axis=1) == mine.sum(axis=1)).all(), "a cell counts twice"


def test_what_is_a_grid():
    anchors = grid_anchors(96, strides=(8, 12, 32), scale=3.0)
    assert Grids.of(anchors).cells == (12, 8, 3)
    moved = anchors.boxes.copy()
    moved[5] += 1
    wide = anchors.boxes * np.float32([1, 1, 1, 1.01])
    turned = np.concatenate(
        [anchors.boxes[:144].reshape(12, 12, 4).swapaxes(0, 1).reshape(-1, 4), anchors.boxes[144:]]
    )
    for boxes in (moved, wide, turned, anchors.boxes + 2):
        assert Grids.of(Anchors.from_boxes(boxes, 96, anchors.level_counts)) is None
    assert Grids.of(Anchors.from_boxes(anchors.boxes, 96)) is None  # all levels as one
    assert Grids.of(Anchors.from_boxes(anchors.boxes[144:], 96, anchors.level_counts[1:])).cells == (8, 3)
