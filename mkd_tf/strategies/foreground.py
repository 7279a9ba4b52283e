"""Foreground: the cells of a feature map that hold objects.

Most cells of an image are empty, so a term over all of them is about background
(Wang et al., "Distilling Object Detectors with Fine-grained Feature Imitation",
CVPR 2019). Departure: a cell counts when an anchor that was assigned to an object
lies in it, at any level; the rest keeps the weight `BACKGROUND`, so that an image
without objects contributes too.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from keras import ops

from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, ArraysByRole, CellWeights, Float, Int

Weights: TypeAlias = Float[Array, "batch cells 1"] | None
MASKS = ("none", "foreground")
"""Where a term counts: everywhere, or mostly on objects."""

BACKGROUND = 0.1
"""Weight of a cell without an object under the foreground mask; above 0, for empty images."""


def cells_of_anchors(
    anchors: Anchors, grid: tuple[int, ...]
) -> tuple[Float[np.ndarray, "anchors h"], Float[np.ndarray, "anchors w"]]:
    """Finds the cells of a grid over the image that share area with each anchor's own cell.

    An anchor's own cell is that of its level's grid, so that levels may be finer or
    coarser than `grid`, and sizes need not divide.

    Returns:
      1 in the rows, and in the columns, of those cells.
    """
    corners = anchors.normalized()
    centers = (corners[:, :2] + corners[:, 2:]) / 2
    levels = np.split(centers, np.cumsum(anchors.level_counts)[:-1])
    found = []
    for axis, count in enumerate(grid):
        # A level's cells are as many as its anchors have different centres.
        half = np.concatenate([np.full(len(c), 0.5 / len(np.unique(c[:, axis].round(5)))) for c in levels])
        low, high = centers[:, axis] - half, centers[:, axis] + half
        edges = np.arange(count + 1) / count
        shared = np.minimum.outer(high, edges[1:]) - np.maximum.outer(low, edges[:-1])
        # By more than rounding: cells that only touch share nothing.
        found.append((shared > 1e-4).astype("float32"))
    return found[0], found[1]


def foreground_cells(
    labels: Int[Array, "batch anchors"],
    num_classes: int,
    cells: tuple[Float[np.ndarray, "anchors h"], Float[np.ndarray, "anchors w"]],
) -> CellWeights:
    """Returns weights of a grid's cells: 1 where an anchor is assigned to an object, else `BACKGROUND`.

    Args:
      labels: assigned to the anchors; the background's is `num_classes`.
      num_classes: C.
      cells: of `cells_of_anchors`, for the target's anchors and the grid.
    """
    rows, columns = cells
    is_object = ops.cast(ops.less(labels, num_classes), "float32")
    count = ops.matmul(ops.transpose(is_object[..., None] * rows, (0, 2, 1)), columns)
    weights = ops.where(count > 0.5, 1.0, BACKGROUND)
    return ops.reshape(weights, (-1, rows.shape[1] * columns.shape[1], 1))


class Foreground:
    """The weights of a strategy's cells under its mask.

    Args:
      mask: `none`, where all cells weigh the same, or `foreground`.
      anchors: of the network that learns.
      num_classes: C.
      grids: heights and widths of the maps that are weighted.
    """

    def __init__(self, mask: str, anchors: Anchors, num_classes: int, grids: Iterable[tuple[int, ...]]):
        self._num_classes = num_classes
        masked = {tuple(grid) for grid in grids} if mask == "foreground" else ()
        self._cells = {grid: cells_of_anchors(anchors, grid) for grid in masked}

    def weights(self, targets: ArraysByRole, role: str, grid: tuple[int, ...]) -> Weights:
        """Returns `foreground_cells` of a grid for the labels of `role`; None without a mask."""
        cells = self._cells.get(tuple(grid))
        return None if cells is None else foreground_cells(targets[role]["labels"], self._num_classes, cells)
