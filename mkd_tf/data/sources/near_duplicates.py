"""Finds near-duplicates: copies, resized or recompressed images, neighbouring frames of a video.

Near-duplicates in both training and test data would make a test result look better than it is.
"""

from collections.abc import Iterator

import numpy as np

# Of 128. In two sets of photographs, shots of one scene differed in at most 11, others in 16 or more.
MAX_BITS = 12
# Blocks of images compared at once, which bounds the memory to some 50 MB. 20,000 images took
# 7 s on two busy cores; time grows with the square of their number.
_ROWS, _COLUMNS = 1024, 8192


def group_alike(hashes: np.ndarray, max_bits: int = MAX_BITS) -> list[list[int]]:
    """Groups images that look alike, directly or through images in between.

    Args:
      hashes: `[N, bits]` bool, difference hashes (`image_files.scan_image`).
      max_bits: how many bits may differ.

    Returns:
      Groups of indices; every index is in one group.
    """
    labels = np.arange(len(hashes))
    for start, first, agreement in _agreements(hashes, hashes, is_symmetric=True):
        alike = agreement >= hashes.shape[1] - 2 * max_bits
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
    """Returns which of `hashes` `[N, bits]` have a near-duplicate among `others` `[M, bits]`, both bool.

    Returns:
      For each such image, its index and that of the first of the nearest `others`.
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
    copies = np.flatnonzero(best >= hashes.shape[1] - 2 * max_bits)
    return list(zip(copies.tolist(), nearest[copies].tolist(), strict=True))


def _agreements(
    hashes: np.ndarray, others: np.ndarray, is_symmetric: bool = False
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields first row, first column and `[rows, columns]` of each tile of the matrix of agreements.

    An agreement is the number of equal bits less that of unequal ones. If the matrix is
    symmetric, tiles below the diagonal are left out.
    """
    for start in range(0, len(hashes), _ROWS):
        signs = _signs(hashes[start : start + _ROWS])
        begin = start // _COLUMNS * _COLUMNS if is_symmetric else 0
        for first in range(begin, len(others), _COLUMNS):
            yield start, first, signs @ _signs(others[first : first + _COLUMNS]).T


def _signs(hashes: np.ndarray) -> np.ndarray:
    return np.where(hashes, np.float32(1), np.float32(-1))
