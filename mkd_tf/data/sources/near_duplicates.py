"""Near-duplicates: copies, resized or recompressed images, neighbouring frames of a video.

One on each side of a split would make a test result look better than it is.
"""

from collections.abc import Iterator

import numpy as np

# Of 128. In two sets of photographs shots of one scene lay within 11, others from 16 on.
MAX_BITS = 12
# Images compared at once with as many others as `_COLUMNS`: bounds the memory to some
# 50 MB for any number of them. 20,000 took 7 s on two busy cores; time grows by the square.
_ROWS, _COLUMNS = 1024, 8192


def group_alike(hashes: np.ndarray, max_bits: int = MAX_BITS) -> list[list[int]]:
    """Groups images that look alike, directly or over others in between.

    Args:
      hashes: `[N, bits]` bool, difference hashes (`images.scan_image`).
      max_bits: how many bits may differ.

    Returns:
      Groups of indices, each index in one, in order.
    """
    labels = np.arange(len(hashes))
    for start, first, agreement in _agreements(hashes, hashes, is_symmetric=True):
        alike = agreement >= _least(hashes, max_bits)
        for row in np.flatnonzero(alike.any(1)):
            found, own = labels[first : first + _COLUMNS][alike[row]], labels[start + row]
            if np.any(found != own):
                new = np.arange(len(labels))
                joined = np.append(found, own)
                new[joined] = joined.min()
                labels = new[labels]
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(index)
    return list(groups.values())


def nearest_copies(hashes: np.ndarray, others: np.ndarray, max_bits: int = MAX_BITS) -> list[tuple[int, int]]:
    """Finds the images that have a near-duplicate among others.

    Args:
      hashes: `[N, bits]` bool.
      others: `[M, bits]` bool.
      max_bits: how many bits may differ.

    Returns:
      For each such image its index and that of its nearest copy in `others`, the
      first of several.
    """
    best = np.full(len(hashes), -np.inf, "float32")
    nearest = np.zeros(len(hashes), int)
    for start, first, agreement in _agreements(hashes, others):
        rows = slice(start, start + len(agreement))
        column = agreement.argmax(1)
        found = agreement[np.arange(len(agreement)), column]
        better = found > best[rows]
        nearest[rows] = np.where(better, first + column, nearest[rows])
        best[rows] = np.maximum(best[rows], found)
    copies = np.flatnonzero(best >= _least(hashes, max_bits))
    return list(zip(copies.tolist(), nearest[copies].tolist(), strict=True))


def _least(hashes: np.ndarray, max_bits: int) -> float:
    """Agreement, equal bits less unequal ones, of images that differ in `max_bits`."""
    return hashes.shape[1] - 2 * max_bits


def _agreements(
    hashes: np.ndarray, others: np.ndarray, is_symmetric: bool = False
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields tiles of the matrix of agreements, `[rows, columns]`, with their first row and column.

    Of a symmetric one the tiles below the diagonal are left out.
    """
    for start in range(0, len(hashes), _ROWS):
        signs = _signs(hashes[start : start + _ROWS])
        begin = start // _COLUMNS * _COLUMNS if is_symmetric else 0
        for first in range(begin, len(others), _COLUMNS):
            yield start, first, signs @ _signs(others[first : first + _COLUMNS]).T


def _signs(hashes: np.ndarray) -> np.ndarray:
    return np.where(hashes, np.float32(1), np.float32(-1))
