"""Which detections of which images are right: what AP under resampled images is computed from.

Only which images take part changes in a resample, so `average_precision` counts every
image with a weight, and nothing is matched again.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mkd_tf.checks import MkdError, check_shape
from mkd_tf.files import atomic_write
from mkd_tf.training.arrays import DAMAGE

OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_CHUNK = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """The detections of a test split, by class and then by falling score.

    Attributes:
      image: `[D]` int32, position of the image in the split.
      label: `[D]` int32.
      score: `[D]` float32.
      right: `[D, 10]` bool, whether it has found an object at each of `OVERLAPS`.
      ignored: `[D, 10]` bool, whether it is left out there.
      objects: `[I, C]` int32, objects that count, by image and class.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray

    def save(self, path: Path) -> None:
        """Writes all of it to an `.npz` file, whole or not at all."""
        with atomic_write(path) as stream:
            np.savez_compressed(stream, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Matches":
        """Reads what `save` wrote.

        Raises:
          MkdError: if it is damaged.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                return cls(**{field.name: stored[field.name] for field in dataclasses.fields(cls)})
        except DAMAGE as error:
            raise MkdError(
                f"{path}: damaged matches ({error}). Delete it to measure the cell again."
            ) from None


def average_precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Returns COCO AP of splits in which each image comes several times or not at all.

    Args:
      matches: of the split.
      weights: `[B, I]`, how often each image comes in each of B splits.

    Returns:
      `[B]` float64 in percent, NaN where no class has an object. With weights of 1 it is
      the `AP` of `evaluation.coco.coco_metrics`.
    """
    check_shape("weights", weights.shape, (None, len(matches.objects)))
    parts = [
        _chunk(matches, weights[i : i + _CHUNK].astype("float64")) for i in range(0, len(weights), _CHUNK)
    ]
    return np.concatenate(parts)


def _chunk(matches: Matches, weights: np.ndarray) -> np.ndarray:
    objects = weights @ matches.objects
    total = np.zeros(len(weights))
    for label in range(matches.objects.shape[1]):
        areas = np.mean(list(_areas(matches, weights, label, objects[:, label])), axis=0)
        total += np.where(objects[:, label] > 0, areas, 0.0)
    classes = np.sum(objects > 0, axis=1)
    return np.where(classes > 0, 100 * total / np.maximum(classes, 1), np.nan)


def _areas(matches: Matches, weights: np.ndarray, label: int, objects: np.ndarray) -> Iterator[np.ndarray]:
    """Yields AP in 0..1 of a class at each of `OVERLAPS`, `[B]`."""
    first, last = np.searchsorted(matches.label, [label, label + 1])
    times = weights[:, matches.image[first:last]]
    so_far = np.cumsum(times, axis=1)
    for right, ignored in zip(matches.right[first:last].T, matches.ignored[first:last].T, strict=True):
        # Precision at a recall is the best at it or beyond, which is always at a hit.
        hits = np.flatnonzero(right)
        found = np.cumsum(times[:, hits], axis=1)
        counted = so_far[:, hits]
        if ignored.any():
            counted = counted - np.cumsum(times * ignored, axis=1)[:, hits]
        precision = found / np.maximum(counted, 1)
        best_from = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # How many of the 101 recalls are reached with each hit, and were not before.
        reached = np.searchsorted(_RECALLS, found / np.maximum(objects, 1)[:, None], side="right")
        yield np.sum(best_from * np.diff(reached, axis=1, prepend=0), axis=1) / len(_RECALLS)
