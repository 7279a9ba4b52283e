"""The foreground's cells against the reference and values worked by hand."""

import numpy as np
import pytest

from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.strategies.foreground import BACKGROUND, cells_of_anchors, foreground_cells
from tests import reference


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 6, 8, 12])
def test_against_the_reference(grid):
    # Levels of 8, 4 and 2 cells a side; grids finer, coarser and not dividing.
    rng = np.random.default_rng(grid)
    labels = np.where(rng.uniform(size=(5, 84)) < 0.04, rng.integers(0, 3, (5, 84)), 3).astype("int32")
    labels[0] = 3
    found = foreground_cells(labels, 3, cells_of_anchors(grid_anchors(64), (grid, grid)))
    for i in range(5):
        expected = reference.foreground(labels[i], (8, 4, 2), 3, grid, BACKGROUND)
        np.testing.assert_allclose(np.array(found[i]).reshape(grid, grid), expected)


def test_by_hand():
    # Of the first level's 4 x 4 cells that in row 1, column 2; of the second's 2 x 2 the last.
    labels = np.full((1, 20), 2, "int32")
    labels[0, 6], labels[0, 19] = 0, 1
    cells = cells_of_anchors(grid_anchors(32, strides=(8, 16)), (4, 4))
    b = BACKGROUND
    expected = [[b, b, b, b], [b, b, 1, b], [b, b, 1, 1], [b, b, 1, 1]]
    np.testing.assert_allclose(np.array(foreground_cells(labels, 2, cells)).reshape(4, 4), expected)


def test_grids_that_are_not_square_and_anchors_that_share_a_cell():
    # One row of two cells with two anchors each, a tall and a low one.
    boxes = np.float32([[0, 1.5, 10, 3.5], [3, 1.5, 7, 3.5], [0, 6.5, 10, 8.5], [3, 6.5, 7, 8.5]])
    cells = cells_of_anchors(Anchors(boxes, (4,), 10), (1, 2))
    found = foreground_cells(np.int32([[1, 0, 1, 1], [1, 1, 1, 1]]), 1, cells)
    np.testing.assert_allclose(found[..., 0], [[1, BACKGROUND], [BACKGROUND, BACKGROUND]])
