"""Box coders: how detectors of other libraries write a box, and what it is in our encodings.

Everything in this package speaks the encodings of `boxes`: (ty, tx, th, tw) with the
scales 10, 10, 5, 5. A head of another library writes either

    deltas      (y - ya) / ha, (x - xa) / wa, log(h / ha), log(w / wa), each times a
                weight (the inverse of its variance), in the order yx or xy
                (Ren et al., Faster R-CNN, 2015, Eq. 2; Liu et al., SSD, 2016, Eq. 2)
    distances   left, top, right, bottom from a point to the edges, in strides or pixels
                (Tian et al., FCOS, ICCV 2019, Eq. 1), where the point is the anchor's centre

Deltas differ from our encodings by a factor and an order alone, so they are never decoded:
no exponential and logarithm cost precision, and a student's gradient is the head's own.
Distances become encodings with s the unit in sizes of the anchor:

    ty = 10 s (bottom - top) / 2        th = 5 log(s (top + bottom))        x likewise

A size outside 1/54 to 54 anchors (e^-4 to e^4) is clipped to them, as in `boxes.decode`;
torchvision's own limit is 62 anchors.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Boxes, Float
from mkd_tf.registry import Table

ORDERS = ("yx", "xy")
UNITS = ("stride", "pixel")
ACTIVATIONS = ("none", "relu", "exp")
_OURS = (box_math.SCALE_CENTER, box_math.SCALE_CENTER, box_math.SCALE_SIZE, box_math.SCALE_SIZE)
_LARGEST = math.exp(box_math.MAX_LOG_SIZE)

RawBoxes = Float[Array, "batch anchors columns"]
"""What a head writes: 4 columns for each box, or 4 times the bins of its distributions."""


class BoxCoder(ABC):
    """How a head writes boxes. A new coder is a subclass and a line in `BOX_CODERS`."""

    @property
    def columns(self) -> int:
        """Numbers per box in the head's output."""
        return 4

    @property
    def is_ours(self) -> bool:
        """Whether the head's numbers are our box encodings as they are."""
        return False

    def units(self, anchors: Anchors) -> Float[np.ndarray, "rows 2"] | None:
        """Returns the unit of the head's numbers in heights and widths of each anchor.

        One row where it is the same for all anchors; None where the head's numbers are
        relative to the anchor already.

        Raises:
          MkdError: if the anchors are not those of such a head.
        """
        del anchors
        return None

    @abstractmethod
    def encodings(self, raw: RawBoxes, units: Float[Array, "rows 2"] | None = None) -> Boxes:
        """Returns the box encodings of the boxes that a head wrote.

        Args:
          raw: `[B, N, columns]`, the head's output.
          units: as `units` returns them.

        Returns:
          `[B, N, 4]` float32 (ty, tx, th, tw).
        """

    def decode(self, raw: RawBoxes, anchors: Anchors) -> Boxes:
        """Returns boxes yxyx in pixels, in the way of the package: encodings first."""
        return box_math.decode(self.encodings(raw, self.units(anchors)), anchors.centers_and_sizes())


@dataclasses.dataclass(frozen=True)
class Deltas(BoxCoder):
    """Offsets relative to the anchor, times `weights`.

    >>> coder = Deltas(order="xy", weights=(1, 1, 1, 1))
    >>> coder.encodings(np.float32([[[0.1, 0.2, 0.3, 0.4]]])).numpy().round(4)
    array([[[2. , 1. , 2. , 1.5]]], dtype=float32)

    Args:
      order: of the columns: `yx` for (y, x, h, w), `xy` for (x, y, w, h).
      weights: by which the head's numbers are divided, in the order of its columns: the
        weights of torchvision, the inverse of SSD's and of Keras's variances.
    """

    order: str = "yx"
    weights: Sequence[float] = _OURS

    def __post_init__(self) -> None:
        check_one_of("order of box_coder", self.order, ORDERS)
        _check_four("weights of box_coder", self.weights)

    @property
    def is_ours(self) -> bool:
        return self.order == "yx" and tuple(self.weights) == _OURS

    def encodings(self, raw: RawBoxes, units: Float[Array, "rows 2"] | None = None) -> Boxes:
        del units
        places = (0, 1, 2, 3) if self.order == "yx" else (1, 0, 3, 2)
        raw = ops.cast(raw, "float32")
        # By columns, not by one vector of factors: integers hold a single factor exactly.
        columns = [
            raw[..., i : i + 1] * (scale / self.weights[i]) for i, scale in zip(places, _OURS, strict=True)
        ]
        return ops.concatenate(columns, axis=-1)


@dataclasses.dataclass(frozen=True)
class Distances(BoxCoder):
    """Distances (left, top, right, bottom) from the anchor's centre to the edges.

    Args:
      unit: `stride` of the level, or `pixel`.
      activation: `none`, `relu` or `exp`, which the library applies to the head's numbers.
      bins: above 1, a head that writes distributions: `4 * bins` columns, side after side,
        before the softmax over the distances 0 to bins - 1.
    """

    unit: str = "stride"
    activation: str = "none"
    bins: int = 1

    def __post_init__(self) -> None:
        check_one_of("unit of box_coder", self.unit, UNITS)
        check_one_of("activation of box_coder", self.activation, ACTIVATIONS)
        if not isinstance(self.bins, int) or self.bins < 1:
            do = "YOLOv8 and YOLO11 have 16 (reg_max); a head that writes the distances themselves has 1."
            fail("bins of box_coder", expected="an integer of 1 or more", got=repr(self.bins), do=do)

    @property
    def columns(self) -> int:
        return 4 * self.bins

    def units(self, anchors: Anchors) -> Float[np.ndarray, "rows 2"]:
        sizes = anchors.centers_and_sizes()[:, 2:]
        units = (grid_strides(anchors)[:, None] if self.unit == "stride" else 1.0) / sizes
        return units[:1] if np.allclose(units, units[:1], rtol=1e-6) else units

    def encodings(self, raw: RawBoxes, units: Float[Array, "rows 2"] | None = None) -> Boxes:
        # No box is longer than the clip, and infinity would come of the largest floats.
        sides = ops.clip(self._sides(ops.cast(raw, "float32")), -1e9, 1e9)
        units = ops.convert_to_tensor(units, "float32")
        # (top, left) and (bottom, right), in sizes of the anchor.
        low, high = (
            ops.concatenate([s[..., 1:], s[..., :1]], -1) * units for s in (sides[..., :2], sides[..., 2:])
        )
        sizes = ops.clip(low + high, 1 / _LARGEST, _LARGEST)
        return ops.concatenate(
            [box_math.SCALE_CENTER / 2 * (high - low), box_math.SCALE_SIZE * ops.log(sizes)], axis=-1
        )

    def _sides(self, raw: RawBoxes) -> Boxes:
        """Returns `[B, N, 4]`: the four distances in the head's unit."""
        if self.bins > 1:
            distributions = ops.reshape(raw, (-1, *raw.shape[1:-1], 4, self.bins))
            raw = ops.sum(ops.softmax(distributions) * ops.arange(self.bins, dtype="float32"), axis=-1)
        if self.activation == "relu":
            return ops.relu(raw)
        return ops.exp(ops.clip(raw, -30.0, 30.0)) if self.activation == "exp" else raw


def grid_strides(anchors: Anchors) -> Float[np.ndarray, " anchors"]:
    """Returns the stride of each anchor's level in pixels, from the distance of the level's centres.

    >>> from mkd_tf.detection.anchors import grid_anchors
    >>> grid_strides(grid_anchors(64))[[0, 64, 80]].tolist()
    [8.0, 16.0, 32.0]

    Raises:
      MkdError: if the centres of a level are not those of a square grid.
    """
    found: list[Any] = []
    levels = np.split(anchors.centers_and_sizes()[:, :2], np.cumsum(anchors.level_counts)[:-1])
    for number, centers in enumerate(levels):
        # Rounded: centres of one cell differ in the last digit where anchors of several shapes share it.
        rows, columns = (np.unique(np.round(centers[:, axis], 3)) for axis in (0, 1))
        gaps = np.concatenate([np.diff(rows), np.diff(columns)])
        stride = float(gaps[0]) if len(gaps) else float(anchors.image_size)
        is_square = len(rows) == len(columns) and len(centers) % (len(rows) * len(columns)) == 0
        if not (is_square and np.allclose(gaps, stride, rtol=1e-3)):
            do = (
                "Give mkd_tf.grid_anchors(image_size, strides=...), or Anchors.from_boxes(boxes, image_size, "
                "level_counts) with the number of anchors of each level."
            )
            got = f"{len(centers)} centres of uneven distance in level {number}"
            fail("anchors", expected="the centres of one square grid per level", got=got, do=do)
        found.append(np.full(len(centers), stride, "float32"))
    return np.concatenate(found)


def _check_four(name: str, values: Any) -> None:
    try:
        good = len(values) == 4 and all(float(v) > 0 and math.isfinite(v) for v in values)
    except (TypeError, ValueError):
        good = False
    if not good:
        fail(
            name,
            expected="four numbers above 0",
            got=repr(values),
            do="Give one for each column of the head.",
        )


def ssd(weights: Sequence[float] = _OURS) -> Deltas:
    """Returns the coder of TensorFlow's SSD and of `TFLite_Detection_PostProcess`: that of this package."""
    return Deltas("yx", weights)


def efficientdet() -> Deltas:
    """Returns the coder of EfficientDet: (ty, tx, th, tw) without variances."""
    return Deltas("yx", (1.0, 1.0, 1.0, 1.0))


def keras_hub(variance: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Deltas:
    """Returns the coder of keras-hub's RetinaNet: (tx, ty, tw, th), each divided by its variance."""
    _check_four("variance of box_coder", variance)
    return Deltas("xy", tuple(1.0 / v for v in variance))


def torchvision(weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0)) -> Deltas:
    """Returns torchvision's `BoxCoder`: (tx, ty, tw, th); weights 1 in its RetinaNet, these in its SSD."""
    return Deltas("xy", weights)


def yolo(bins: int = 1) -> Distances:
    """Returns the coder of YOLOv8 and later: (l, t, r, b) in strides, with `bins` the reg_max of the head."""
    return Distances("stride", "none", bins)


def fcos(activation: str = "relu", unit: str = "stride") -> Distances:
    """Returns the coder of torchvision's FCOS; the paper's is `fcos(activation='exp', unit='pixel')`."""
    return Distances(unit, activation)


BOX_CODERS: Table[BoxCoder] = Table(
    "box_coder",
    {
        "ssd": ssd,
        "efficientdet": efficientdet,
        "keras_hub": keras_hub,
        "torchvision": torchvision,
        "yolo": yolo,
        "fcos": fcos,
    },
)
