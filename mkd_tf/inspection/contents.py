"""The annotations of a data set as arrays, one row per object: what every statistic is computed from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mkd_tf.data.base import Dataset, Element, annotation_of, is_complete, unknown_of
from mkd_tf.data.image_files import fit_boxes
from mkd_tf.evaluation.progress import OnProgress, ignore_progress


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """The annotations of one split: N images with M objects, crowds among them.

    Attributes:
      split: its name.
      ids: of the N images.
      height_width: `[N, 2]` int, pixels of the displayed image.
      is_labelled: `[N]` bool.
      is_unknown: `[N]` bool, whether there may be objects in the whole image that no label names.
      areas: `[N]` int, smaller areas of unknown content, crowds not counted.
      image: `[M]` int, the image of each object, rising.
      labels: `[M]` int.
      boxes: `[M, 4]` float yxyx, 0..1 of the image.
      fitted: `[M, 4]` float yxyx, pixels of a network's input.
      is_crowd: `[M]` bool, areas of unknown content rather than objects.
      is_difficult: `[M]` bool.
    """

    split: str
    ids: Sequence[str]
    height_width: np.ndarray
    is_labelled: np.ndarray
    is_unknown: np.ndarray
    areas: np.ndarray
    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    fitted: np.ndarray
    is_crowd: np.ndarray
    is_difficult: np.ndarray

    @property
    def is_object(self) -> np.ndarray:
        """`[M]` bool: objects that a network can learn, and not crowds."""
        return ~self.is_crowd

    @property
    def size_px(self) -> np.ndarray:
        """`[M]` float: the root of each box's area, in pixels of the input."""
        sides = np.maximum(self.fitted[:, 2:] - self.fitted[:, :2], 0)
        return np.sqrt(sides.prod(axis=1))

    @property
    def sides(self) -> np.ndarray:
        """`[M, 2]` float: height and width of each box in pixels of the original image."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]) * self.height_width[self.image]

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """Returns how many of the `chosen` objects (`[M]` bool) each image has, `[N]` int."""
        return np.bincount(self.image[chosen], minlength=len(self.ids))


def read_contents(
    dataset: Dataset, image_size: int, fit: str = "stretch", on_progress: OnProgress = ignore_progress
) -> dict[str, Contents]:
    """Returns the annotations of every split; no image is decoded.

    Args:
      dataset: the data set.
      image_size: side of the network's input in pixels, to which box sizes refer.
      fit: how images are brought to it.
      on_progress: called with how many images are read, and how many there are.
    """
    splits = {name: dataset.split(name) for name in dataset.split_names}
    total, done, found = sum(map(len, splits.values())), 0, {}
    for name, split in splits.items():
        rows = []
        for index in range(len(split)):
            rows.append(_row(annotation_of(split, index)))
            done += 1
            on_progress(done, total)
        found[name] = _contents(name, rows, image_size, fit)
    return found


def _row(found: Element) -> dict[str, Any]:
    objects = found["objects"]
    kept = {key: np.asarray(objects[key]) for key in ("bbox", "label", "is_crowd", "is_difficult")}
    return {
        "id": str(found["image/id"]),
        "height_width": tuple(found["height_width"]),
        "is_labelled": bool(found["is_labelled"]),
        "is_unknown": not is_complete(found),
        "areas": len(unknown_of(found)),
        **kept,
    }


def _contents(name: str, rows: Sequence[Mapping[str, Any]], image_size: int, fit: str) -> Contents:
    counts = [len(row["label"]) for row in rows]
    height_width = np.array([row["height_width"] for row in rows], int).reshape(len(rows), 2)
    boxes = np.concatenate([np.zeros((0, 4)), *(row["bbox"].reshape(-1, 4) for row in rows)])
    image = np.repeat(np.arange(len(rows)), counts)
    # The same fit for all images of one size: a call for each would be slow on a large set.
    fitted = np.array(boxes)
    for size in np.unique(height_width, axis=0) if fit != "stretch" else ():
        chosen = (height_width == size).all(axis=1)[image]
        fitted[chosen] = fit_boxes(boxes[chosen], tuple(size.tolist()), fit)

    def joined(key: str, dtype: Any) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(row[key].astype(dtype) for row in rows)])

    return Contents(
        split=name,
        ids=[row["id"] for row in rows],
        height_width=height_width,
        is_labelled=np.array([row["is_labelled"] for row in rows], bool),
        is_unknown=np.array([row["is_unknown"] for row in rows], bool),
        areas=np.array([row["areas"] for row in rows], int),
        image=image,
        labels=joined("label", int),
        boxes=boxes,
        fitted=fitted * image_size,
        is_crowd=joined("is_crowd", bool),
        is_difficult=joined("is_difficult", bool),
    )
