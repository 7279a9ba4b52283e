"""Foreground: where on a feature map the objects are.

Most cells of an image are empty, so a term over all of them is about background
(Wang et al., "Distilling Object Detectors with Fine-grained Feature Imitation",
CVPR 2019). Departure: a cell counts when an anchor that was assigned to an object
lies in it, at any level; the rest keeps the weight `BACKGROUND`, so that an image
without objects still says something.
"""

import numpy as np
from keras import ops

from mkd_tf.detection.anchors import Anchors

MASKS = ("none", "foreground")
"""Where a term counts: everywhere, or mostly where objects are."""

BACKGROUND = 0.1
"""Weight of a cell without an object under the foreground mask; above 0, for empty images."""


def cells_of_anchors(anchors: Anchors, grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the cells of a grid over the image that share area with each anchor's own cell.

    An anchor's own cell is that of its level's grid, so that the answer is the same
    for levels finer and coarser than `grid`, and for sizes that do not divide.

    Returns:
      `[N, h]` and `[N, w]` float32, 1 in the rows and in the columns of those cells.
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


def foreground_cells(labels, num_classes: int, cells: tuple[np.ndarray, np.ndarray]):
    """Weights of a grid's cells from the assigned labels: 1 where one answers for an object.

    Args:
      labels: `[B, N]` int, the background's is `num_classes`.
      num_classes: C.
      cells: of `cells_of_anchors`, for the target's anchors and the grid.

    Returns:
      `[B, h * w, 1]` float32, `BACKGROUND` elsewhere.
    """
    rows, columns = cells
    is_object = ops.cast(ops.less(labels, num_classes), "float32")
    count = ops.matmul(ops.transpose(is_object[..., None] * rows, (0, 2, 1)), columns)
    weights = ops.where(count > 0.5, 1.0, BACKGROUND)
    return ops.reshape(weights, (-1, rows.shape[1] * columns.shape[1], 1))
