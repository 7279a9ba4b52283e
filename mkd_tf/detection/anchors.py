"""Anchors: the reference boxes that box encodings are relative to.

One square anchor per location, its side `scale` strides (Zhang et al., ATSS,
CVPR 2020, Sec. 3: one anchor per location suffices when the assignment adapts).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mkd_tf.checks import check_positive, check_shape, fail
from mkd_tf.detection.types import Float

STRIDES = (8, 16, 32)


@dataclasses.dataclass(frozen=True, eq=False)
class Anchors:
    """The anchors of one detector.

    >>> anchors = Anchors.from_boxes([[0, 0, 32, 32], [16, 16, 64, 64]], image_size=64)
    >>> len(anchors), anchors.level_counts
    (2, (2,))
    >>> anchors.centers_and_sizes()[1].tolist()
    [40.0, 40.0, 48.0, 48.0]

    Attributes:
      boxes: `[N, 4]` float32 yxyx in pixels of the detector's input.
      level_counts: how many of the N belong to each pyramid level, in order.
      image_size: side of the detector's square input in pixels.
    """

    boxes: Float[np.ndarray, "anchors 4"]
    level_counts: tuple[int, ...]
    image_size: int

    def __post_init__(self) -> None:
        check_shape("anchors.boxes", self.boxes.shape, (sum(self.level_counts), 4))

    @classmethod
    def from_boxes(
        cls, boxes: npt.ArrayLike, image_size: int, level_counts: Sequence[int] | None = None
    ) -> "Anchors":
        """Returns anchors of any size, place and number per location.

        Args:
          boxes: `[N, 4]` yxyx in pixels of the input, in the order of the predictions.
          image_size: side of the detector's square input in pixels.
          level_counts: how many belong to each level; None for a single level. Targets
            are assigned level by level.

        Raises:
          MkdError: if a box is not finite or has no area, or the counts do not add up.
        """
        boxes = np.asarray(boxes, "float32")
        check_shape("anchors.boxes", boxes.shape, (None, 4))
        check_positive("anchors.image_size", image_size)
        counts = (len(boxes),) if level_counts is None else tuple(int(c) for c in level_counts)
        if sum(counts) != len(boxes) or min(counts, default=0) < 1:
            fail(
                "anchors.level_counts",
                expected=f"positive numbers that add up to the {len(boxes)} boxes",
                got=str(counts),
                do="Count the anchors of each level, in the order of the predictions.",
            )
        good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if not good.all():
            first = int(np.argmin(good))
            fail(
                f"anchors.boxes[{first}]",
                expected="finite [ymin, xmin, ymax, xmax] of positive height and width",
                got=str(boxes[first].tolist()),
                do="Give corners in pixels, y before x.",
            )
        return cls(boxes, counts, int(image_size))

    def __len__(self) -> int:
        return len(self.boxes)

    def centers_and_sizes(self) -> Float[np.ndarray, "anchors 4"]:
        """Returns (ycenter, xcenter, height, width) in pixels."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        return np.concatenate([(low + high) / 2, high - low], axis=1).astype("float32")

    @property
    def per_location(self) -> tuple[int, ...]:
        """Number of anchors per centre of each level; the mean, rounded up, where it varies."""
        centers = np.split(self.centers_and_sizes()[:, :2], np.cumsum(self.level_counts)[:-1])
        return tuple(-(-len(level) // len(np.unique(level, axis=0))) for level in centers)

    def normalized(self) -> Float[np.ndarray, "anchors 4"]:
        """Returns boxes yxyx as fractions of the input."""
        return (self.boxes / self.image_size).astype("float32")


def grid_anchors(image_size: int, strides: tuple[int, ...] = STRIDES, scale: float = 4.0) -> Anchors:
    """Returns one square anchor per cell of each level's grid, row by row.

    >>> anchors = grid_anchors(64)
    >>> anchors.level_counts  # 8 x 8, 4 x 4 and 2 x 2 cells
    (64, 16, 4)
    >>> anchors.boxes[0].tolist()  # 32 px square around the first cell's centre
    [-12.0, -12.0, 20.0, 20.0]

    Args:
      image_size: side of the detector's square input in pixels.
      strides: pixels between two cells, for each level.
      scale: side of an anchor in strides.

    Raises:
      MkdError: if `image_size` is not a positive multiple of the largest stride.
    """
    if image_size <= 0 or image_size % max(strides):
        fail(
            "image_size",
            expected=f"a positive multiple of {max(strides)} px",
            got=str(image_size),
            do=f"Use for example {max(strides) * max(1, round(image_size / max(strides)))}.",
        )
    levels, counts = [], []
    for stride in strides:
        cells = image_size // stride
        centers = (np.arange(cells, dtype="float32") + 0.5) * stride
        y, x = (c.reshape(-1) for c in np.meshgrid(centers, centers, indexing="ij"))
        half = scale * stride / 2
        levels.append(np.stack([y - half, x - half, y + half, x + half], axis=1))
        counts.append(cells * cells)
    return Anchors(np.concatenate(levels).astype("float32"), tuple(counts), image_size)
