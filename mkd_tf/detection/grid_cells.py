"""Anchors that are grids: the few cells that can be among the nine nearest to a centre, by arithmetic.

A level of g x g cells of stride s, one square anchor in each, as `anchors.grid_anchors` makes
them. Let a centre lie in the image. Along either axis its cell index is u = center / s - 1/2,
and the window is the cells floor(u) - 2 to floor(u) + 3, moved into the grid, or all cells where
there are no more than six. No other cell is as near as the ninth nearest:

    The block of 3 x 3 nearest cells reaches at most 3/2 s along an axis, and 5/2 s where the
    border of the grid moved it. A cell outside of the window is farther than 3 s along an axis
    where the window was not moved, and than 4 s where it was, which only then can the block be.
    Squared, in s: block 2 (3/2)^2 = 4.5 against 9; (3/2)^2 + (5/2)^2 = 8.5 against 9;
    2 (5/2)^2 = 12.5 against 16.

A centre outside of the image has no such bound: far from a side its nine nearest cells are one row.
"""

import dataclasses

import numpy as np
from keras import ops

from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Float, Int

WINDOW = 6
MOST_NEAREST = 9
_ROUNDING = 1e-3
"""Of a stride: by how much a cell may be off its place. The bounds above leave 0.08 strides."""


@dataclasses.dataclass(frozen=True, eq=False)
class Grids:
    """Levels of square grids.

    Attributes:
      cells: g of each of the L levels.
      strides: `[L]` float32, in pixels.
      low, high: edges of the anchors along an axis, in pixels, float32, level after level.
    """

    cells: tuple[int, ...]
    strides: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, anchors: Anchors) -> "Grids | None":
        """Returns the grids that the anchors are, None for anchors of another form."""
        cells = tuple(round(count**0.5) for count in anchors.level_counts)
        if any(g * g != count for g, count in zip(cells, anchors.level_counts, strict=True)):
            return None
        strides = np.array([anchors.image_size / g for g in cells], "float32")
        low, high, start = [], [], 0
        for g, stride in zip(cells, strides, strict=True):
            level = anchors.boxes[start : start + g * g].reshape(g, g, 2, 2)
            start += g * g
            along = level[0, :, :, 1]  # of the first row, along x
            middle = (np.arange(g) + 0.5) * stride
            if (
                stride < 1
                or np.any(level[..., 0] != along[:, None])
                or np.any(level[..., 1] != along[None])
                or np.any(np.abs(along.mean(axis=1) - middle) > _ROUNDING * stride)
            ):
                return None
            low.append(along[:, 0])
            high.append(along[:, 1])
        return cls(cells, strides, np.concatenate(low), np.concatenate(high))


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """What is known of the K cells in the windows of every object, all `[batch, objects, K]`.

    Attributes:
      numbers: of the cells' anchors, int32. A window on a grid of fewer than six cells names some twice.
      overlaps: IoU of object and anchor.
      candidates: whether the cell is among the nearest of its level, ties included.
      inside: whether its centre is inside of the object.
    """

    numbers: Int[Array, "batch objects cells"]
    overlaps: Float[Array, "batch objects cells"]
    candidates: Array
    inside: Array


def is_in_image(grids: Grids, boxes: Float[Array, "*batch 4"]) -> Array:
    """Returns whether the centres of boxes, yxyx in pixels, are in the image; false for NaN."""
    low, high = ops.split(boxes, 2, axis=-1)
    center, side = (low + high) / 2, float(grids.strides[0] * grids.cells[0])
    return ops.all(ops.logical_and(center >= 0, center <= side), axis=-1)


def near_cells(grids: Grids, boxes: Float[Array, "batch objects 4"], top_k: int) -> Cells:
    """Returns the cells in the windows of objects whose centres are in the image.

    What is computed of a cell is what `targets` computes of an anchor, operation by operation.

    Args:
      grids: of the anchors.
      boxes: yxyx in pixels. A box whose centre is elsewhere gets cells without meaning.
      top_k: number of the nearest cells, at most `MOST_NEAREST`.
    """
    cells = np.array(grids.cells, "int32").reshape(-1, 1)
    first = np.cumsum([0, *grids.cells[:-1]], dtype="int32").reshape(-1, 1)
    # Axes from here on: batch, objects, y and x, levels, cells of the window.
    low, high = (x[..., None, None] for x in ops.split(boxes, 2, axis=-1))
    center = (low + high) / 2
    start = ops.floor(center / grids.strides[:, None] - 0.5) - (WINDOW // 2 - 1)
    most = np.maximum(cells - WINDOW, 0)
    start = ops.clip(ops.cast(ops.clip(start, 0.0, np.float32(most)), "int32"), 0, most)
    place = start + np.arange(WINDOW, dtype="int32")
    is_cell = None if min(grids.cells) >= WINDOW else place < cells
    place = ops.minimum(place, cells - 1)
    anchor_low, anchor_high = (ops.take(x, first + place, axis=0) for x in (grids.low, grids.high))
    middle = (anchor_low + anchor_high) / 2

    away = ops.square(center - middle)
    if is_cell is not None:
        away = ops.where(is_cell, away, np.float32(np.inf))
    distances = _flat(away, ops.add)
    nearest = -ops.top_k(-distances, MOST_NEAREST)[0]
    ninth = [nearest[..., i, min(top_k, g * g) - 1] for i, g in enumerate(grids.cells)]
    candidates = distances <= ops.stack(ninth, axis=-1)[..., None] * (1 + 1e-5) + 1e-3

    shared = _flat(ops.relu(ops.minimum(high, anchor_high) - ops.maximum(low, anchor_low)), ops.multiply)
    own = _flat(ops.relu(high - low), ops.multiply)
    area = _flat(ops.relu(anchor_high - anchor_low), ops.multiply)
    inside = _flat(ops.minimum(middle - low, high - middle), ops.minimum) > 0
    base = np.cumsum([0, *(g * g for g in grids.cells[:-1])], dtype="int32").reshape(-1, 1)
    rows = place[:, :, 0] * cells + base
    numbers = rows[..., :, None] + place[:, :, 1, :, None, :]
    overlaps = shared / ops.maximum(own + area - shared, 1e-7)
    return Cells(*(_joined(x) for x in (numbers, overlaps, candidates, inside)))


def _flat(along: Array, join: Array) -> Array:
    """Joins a value of each row with one of each column: `[B, M, 2, L, w]` to `[B, M, L, w * w]`."""
    joined = join(along[:, :, 0, :, :, None], along[:, :, 1, :, None, :])
    shape = ops.shape(joined)
    return ops.reshape(joined, (*shape[:3], along.shape[-1] ** 2))


def _joined(x: Array) -> Array:
    """Makes one axis of levels and cells."""
    shape = ops.shape(x)
    return ops.reshape(x, (*shape[:2], x.shape[2] * WINDOW * WINDOW))
