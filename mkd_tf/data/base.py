"""The contract of a data set: splits of elements in the form of tfds's detection features.

An element is a dict:

    image              `[H, W, 3]` uint8 RGB, EXIF orientation applied
    image/id           str
    objects            dict of arrays, one row per object:
      bbox             `[M, 4]` float32 [ymin, xmin, ymax, xmax], 0..1 of the image
      label            `[M]` int32, an index into `class_names`
      is_difficult     `[M]` bool
      is_crowd         `[M]` bool
      area             `[M]` float32, square pixels of the object's segment; NaN if unknown
    unknown            `[K, 4]` float32 yxyx, 0..1 of the image: areas of unknown content, neither
                         object nor background, `WHOLE` for the whole image; may be missing
    is_labelled        bool; an unlabelled image takes part in distillation only

A split is a sequence with random access, so that a training step can be computed
from its number alone, and a killed run goes on where it stopped. A split that knows
its boxes without decoding its images is an `AnnotatedSplit`: reading the boxes of a
large set is then fast.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.data.sources.notices import Notice
from mkd_tf.data.tree import Found, Tree

Element = dict[str, Any]
SPLITS = ("train", "validation", "test", "unlabelled")
WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The unknown area of an image that lost an object whose place is not known."""


def annotation(
    height_width: tuple[int, int],
    image_id: str,
    bbox: np.ndarray,
    label: np.ndarray,
    *,
    is_difficult: np.ndarray | None = None,
    is_crowd: np.ndarray | None = None,
    area: np.ndarray | None = None,
    unknown: np.ndarray | Sequence[Sequence[float]] = (),
    is_labelled: bool = True,
) -> Element:
    """Returns an element without its image, with the image's `height_width` in pixels instead."""
    count = len(label)
    return {
        "height_width": height_width,
        "image/id": image_id,
        "objects": {
            "bbox": np.asarray(bbox, "float32").reshape(count, 4),
            "label": np.asarray(label, "int32"),
            "is_difficult": np.zeros(count, bool) if is_difficult is None else is_difficult,
            "is_crowd": np.zeros(count, bool) if is_crowd is None else is_crowd,
            "area": np.full(count, np.nan, "float32") if area is None else area,
        },
        "unknown": np.asarray(unknown, "float32").reshape(-1, 4),
        "is_labelled": is_labelled,
    }


def element(image: np.ndarray, image_id: str, bbox: np.ndarray, label: np.ndarray, **details: Any) -> Element:
    """Returns an element; `bbox` `[M, 4]` and `label` `[M]` may be empty, `details` as in `annotation`."""
    return {"image": image} | annotation(image.shape[:2], image_id, bbox, label, **details)


def unknown_of(found: Mapping[str, Any]) -> np.ndarray:
    """Returns an element's areas of unknown content, `[K, 4]` float32 yxyx, 0..1 of the image."""
    return np.asarray(found.get("unknown", ()), "float32").reshape(-1, 4)


def is_complete(found: Mapping[str, Any]) -> bool:
    """Returns whether a labelled element names all objects of its image, outside of smaller unknown areas."""
    return not np.any(np.all(unknown_of(found) == WHOLE, axis=1))


class AnnotatedSplit(Sequence[Element]):
    """A split that knows the objects of an image without decoding it."""

    @abc.abstractmethod
    def annotation(self, index: int) -> Element:
        """Returns the element of image `index`, from 0, in the form of the function `annotation`."""

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Returns image `index`, from 0, `[H, W, 3]` uint8."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]  # IndexError past the end, and -1 is the last
        return {"image": self.image(number)} | self.annotation(number)


def annotation_of(split: Sequence[Element], index: int) -> Element:
    """Returns a split's element without its image, which is decoded only if the split is not annotated."""
    if isinstance(split, AnnotatedSplit):
        return split.annotation(index)
    found = dict(split[index])
    return {"height_width": found.pop("image").shape[:2]} | found


def image_of(split: Sequence[Element], index: int) -> np.ndarray:
    """Returns a split's image, `[H, W, 3]` uint8."""
    return split.image(index) if isinstance(split, AnnotatedSplit) else split[index]["image"]


class Dataset:
    """A named collection of splits that share their classes.

    Attributes:
      name: its name in results.
      class_names: the classes in the order of their labels.
      split_names: the splits that it has, out of `SPLITS`.
      notices: what its reader did not use, joined, or read otherwise than written.
    """

    name: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    _splits: Mapping[str, Sequence[Element]]

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the data sets of this kind in a folder; none by default, several if it is ambiguous."""
        del tree
        return []

    def _split(self, name: str) -> Sequence[Element]:
        """Returns a split that is known to exist."""
        return self._splits[name]

    def split(self, name: str) -> Sequence[Element]:
        """Returns the split called `name`.

        Raises:
          MkdError: if there is none of that name.
        """
        if name not in self.split_names:
            expected, do = f"a split among {', '.join(self.split_names)}", "Choose one of these with --split."
            fail(f"data set {self.name}", expected=expected, got=repr(name), do=do)
        return self._split(name)
