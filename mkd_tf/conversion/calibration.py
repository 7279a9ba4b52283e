"""Calibration: real training pictures from which integer files take the ranges of their tensors."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import check_positive, fail
from mkd_tf.data.base import Dataset, Element
from mkd_tf.data.pictures import fit_picture

PICTURES = 128
Source = Dataset | Sequence[Element] | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures for calibration.

    Attributes:
      images: `[K, S, S, 3]` uint8, fitted to the model's input.
      picture_ids: K names, for the record.
    """

    images: np.ndarray
    picture_ids: tuple[str, ...]


def choose_calibration(
    source: Source, image_size: int, *, count: int = PICTURES, seed: int = 0, fit: str = "stretch"
) -> Calibration:
    """Chooses calibration pictures, the same ones for the same seed.

    Args:
      source: a data set (its `train` split is used), a split, or an array
        `[K, S, S, 3]` uint8 of pictures that already have the input's size.
      image_size: side of the model's input in pixels.
      count: how many at most.
      seed: of the choice.
      fit: how pictures are brought to the input, as in training.

    Raises:
      MkdError: if there is no picture, or an array is of another size or type.
    """
    check_positive("calibration_pictures", count)
    pictures = source.split("train") if isinstance(source, Dataset) else source
    if not len(pictures):
        fail(
            "calibration",
            expected="at least one picture",
            got="an empty set",
            do="Pass training pictures: they give the integer file its ranges.",
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pictures))[:count])
    if isinstance(pictures, np.ndarray):
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (image_size, image_size, 3):
            fail(
                "calibration",
                expected=f"uint8 [K, {image_size}, {image_size}, 3]",
                got=f"{pictures.dtype} {list(pictures.shape)}",
                do="Pass pictures in 0..255 at the model's size, or a split.",
            )
        return Calibration(pictures[chosen], tuple(str(i) for i in chosen))
    images, ids = [], []
    for index in chosen:
        element = pictures[int(index)]
        images.append(fit_picture(element["image"], image_size, fit))
        ids.append(str(element["image/id"]))
    return Calibration(np.stack(images), tuple(ids))


def with_full_range(images: np.ndarray) -> np.ndarray:
    """Returns a copy in which two pixels of the first picture are black and white.

    The range of the input decides its integer step. It has to be that of all possible
    pixels, 0..255, also where no calibration picture reaches it; two pixels in a
    corner of one picture leave the other ranges as they are.
    """
    full = images.copy()
    full[0, 0, 0], full[0, 0, 1] = 0, 255
    return full
