"""The contract of a data set: splits of elements in the form of tfds's detection features.

An element is a dict:

    image              `[H, W, 3]` uint8 RGB, EXIF orientation applied
    image/id           str
    objects            dict of arrays, one row per object:
      bbox             `[M, 4]` float32 [ymin, xmin, ymax, xmax], 0..1 of the picture
      label            `[M]` int32, an index into `class_names`
      is_difficult     `[M]` bool
      is_crowd         `[M]` bool
    is_labelled        bool; an unlabelled picture takes part in distillation only

A split is a sequence with random access, so that a training step can be computed
from its number alone, and a killed run goes on where it stopped.
"""

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from mkd_tf.checks import fail

Element = dict[str, Any]


def element(
    image: np.ndarray,
    image_id: str,
    bbox: np.ndarray,
    label: np.ndarray,
    *,
    is_difficult: np.ndarray | None = None,
    is_crowd: np.ndarray | None = None,
    is_labelled: bool = True,
) -> Element:
    """Returns an element; `bbox` `[M, 4]` and `label` `[M]` may be empty."""
    count = len(label)
    return {
        "image": image,
        "image/id": image_id,
        "objects": {
            "bbox": np.asarray(bbox, "float32").reshape(count, 4),
            "label": np.asarray(label, "int32"),
            "is_difficult": np.zeros(count, bool) if is_difficult is None else is_difficult,
            "is_crowd": np.zeros(count, bool) if is_crowd is None else is_crowd,
        },
        "is_labelled": is_labelled,
    }


class Dataset(abc.ABC):
    """A named collection of splits that share their classes.

    Attributes:
      name: how results call it.
      class_names: the classes in the order of their labels.
      split_names: which splits there are: `train`, `validation`, `test`, and
        `unlabelled` where pictures without labels exist.
    """

    name: str
    class_names: tuple[str, ...]
    split_names: tuple[str, ...]

    @abc.abstractmethod
    def _split(self, name: str) -> Sequence[Element]:
        """Returns a split that is known to exist."""

    def split(self, name: str) -> Sequence[Element]:
        """Returns the split called `name`.

        Raises:
          MkdError: if there is none of that name.
        """
        if name not in self.split_names:
            fail(
                f"data set {self.name}",
                expected=f"a split among {', '.join(self.split_names)}",
                got=repr(name),
                do="Choose one of these with --split.",
            )
        return self._split(name)
