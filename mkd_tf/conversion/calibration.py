"""Calibration: training images that give the tensors of integer files their ranges.

One in `OTHER_FIT_EVERY` images is fitted in the way that the model was not trained with:
clients choose the fit, not the file, and values outside the ranges are cut off. The padding of a
letterbox is zero, as in Coral's, MediaPipe's and our own clients.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.checks import check_positive, fail
from mkd_tf.conversion.base import CALIBRATION_IMAGES
from mkd_tf.data.base import Dataset, Element
from mkd_tf.data.image_files import fit_image
from mkd_tf.options import FITS

OTHER_FIT_EVERY = 8
Source = Dataset | Sequence[Element] | Sequence[np.ndarray] | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Images for calibration.

    Attributes:
      images: `[K, S, S, 3]` uint8, fitted to the model's input.
      image_ids: K names, for the record.
    """

    images: np.ndarray
    image_ids: tuple[str, ...]


def choose_calibration(
    source: Source | Calibration,
    image_size: int,
    *,
    count: int = CALIBRATION_IMAGES,
    seed: int = 0,
    fit: str = "stretch",
) -> Calibration:
    """Chooses calibration images, the same ones for the same seed.

    Args:
      source: a data set (its `train` split is used), a split, a list of images `[H, W, 3]` uint8 of
        any size, an array `[K, S, S, 3]` uint8 of images that already have the input's size, or
        a choice made before, which is kept.
      image_size: side of the model's input in pixels.
      count: the largest number of images.
      seed: of the choice.
      fit: how images are brought to the input, as in training; a share has the other fit.

    Raises:
      MkdError: if there is no image, an array is of another size or type, or it is none of these.
    """
    if isinstance(source, Calibration):
        return source
    check_positive("calibration_images", count)
    candidates = source.split("train") if isinstance(source, Dataset) else source
    if not (hasattr(candidates, "__len__") and hasattr(candidates, "__getitem__")):
        do = "Pass a data set, a split, or a list of images [H, W, 3] uint8."
        fail("calibration", expected="images by number", got=f"a {type(candidates).__name__}", do=do)
    if not len(candidates):
        do = "Pass training images: they give the integer file its ranges."
        fail("calibration", expected="at least one image", got="an empty set", do=do)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(candidates))[:count])
    if isinstance(candidates, np.ndarray):
        if candidates.dtype != np.uint8 or candidates.shape[1:] != (image_size, image_size, 3):
            expected = f"uint8 [K, {image_size}, {image_size}, 3]"
            got = f"{candidates.dtype} {list(candidates.shape)}"
            do = "Pass candidates in 0..255 at the model's size, or a split."
            fail("calibration", expected=expected, got=got, do=do)
        return Calibration(candidates[chosen], tuple(str(i) for i in chosen))
    fitted, ids = [], []
    other = next(f for f in FITS if f != fit)
    for place, index in enumerate(chosen):
        image, name = _image_of(candidates[int(index)], int(index))
        is_other = place % OTHER_FIT_EVERY == 1
        fitted.append(fit_image(image, image_size, other if is_other else fit))
        ids.append(name)
    return Calibration(np.stack(fitted), tuple(ids))


def _image_of(candidate: Element | np.ndarray, index: int) -> tuple[np.ndarray, str]:
    """Returns an image `[H, W, 3]` uint8 of a split or a list, and its name."""
    if isinstance(candidate, Mapping):
        return candidate["image"], str(candidate["image/id"])
    image = np.asarray(candidate)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        do = "Pass a data set, a split, or a list of images in 0..255."
        got = f"{image.dtype} {list(image.shape)}"
        fail(f"calibration image {index}", expected="uint8 [H, W, 3]", got=got, do=do)
    return image, str(index)


def with_full_range(images: np.ndarray) -> np.ndarray:
    """Returns a copy in which two pixels of the first image are black and white.

    The range of the input decides its integer step. It has to cover all possible pixels,
    0..255, even if no calibration image does; two pixels in a corner of one image leave
    the ranges of the other tensors as they are.
    """
    full = images.copy()
    full[0, 0, 0], full[0, 0, 1] = 0, 255
    return full
