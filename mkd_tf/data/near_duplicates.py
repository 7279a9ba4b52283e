"""Near-duplicates: copies, resized or recompressed pictures, neighbouring frames of a video.

One on each side of a split would make a test result look better than it is.
"""

from collections.abc import Iterator

import numpy as np

# Of 128. In two sets of photographs shots of one scene lay within 11, others from 16 on.
MAX_BITS = 12
_ROWS = 1024  # pictures compared at once with all others: bounds the memory


def group_alike(hashes: np.ndarray, max_bits: int = MAX_BITS) -> list[list[int]]:
    """Groups pictures that look alike, directly or over others in between.

    Args:
      hashes: `[N, bits]` bool, difference hashes (`pictures.scan_picture`).
      max_bits: how many bits may differ.

    Returns:
      Groups of indices, each index in one, in order.
    """
    labels = np.arange(len(hashes))
    for _, distances in _distances(hashes, hashes):
        alike = distances <= max_bits
        for row in alike[alike.sum(1) > 1]:
            joined = np.unique(labels[row])
            if len(joined) > 1:
                labels[np.isin(labels, joined)] = joined[0]
    groups: dict[int, list[int]] = {}
    for index, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(index)
    return list(groups.values())


def nearest_copies(hashes: np.ndarray, others: np.ndarray, max_bits: int = MAX_BITS) -> list[tuple[int, int]]:
    """Finds the pictures that have a near-duplicate among others.

    Args:
      hashes: `[N, bits]` bool.
      others: `[M, bits]` bool.
      max_bits: how many bits may differ.

    Returns:
      For each such picture its index and that of its nearest copy in `others`.
    """
    copies: list[tuple[int, int]] = []
    if len(others):
        for start, distances in _distances(hashes, others):
            nearest = distances.argmin(1)
            rows = np.flatnonzero(distances.min(1) <= max_bits)
            copies += [(start + int(row), int(nearest[row])) for row in rows]
    return copies


def _distances(hashes: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields blocks of the matrix of Hamming distances, `[rows, M]`, with their first row."""
    bits = hashes.shape[1]
    signs, other_signs = (np.where(h, 1, -1).astype("float32") for h in (hashes, others))
    for start in range(0, len(hashes), _ROWS):
        yield start, (bits - signs[start : start + _ROWS] @ other_signs.T) / 2
