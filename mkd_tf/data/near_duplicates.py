"""Near-duplicates: copies, resized or recompressed pictures, neighbouring frames of a video.

One on each side of a split would make a test result look better than it is.
"""

from collections.abc import Iterable

import numpy as np

# Of 64. On photographs, bursts of one scene lie within 6, different scenes start around 12.
MAX_BITS = 6
_ROWS = 1024  # rows compared at once: memory stays at rows x pictures


def near_pairs(hashes: np.ndarray, max_bits: int = MAX_BITS) -> np.ndarray:
    """Finds the pairs of pictures that look alike.

    Args:
      hashes: `[N, bits]` bool, difference hashes (`pictures.scan_picture`).
      max_bits: how many bits may differ.

    Returns:
      `[P, 2]` int, the index pairs (i, j) with i < j, in order.
    """
    count, bits = hashes.shape
    signs = np.where(hashes, 1, -1).astype("float32")
    pairs = []
    for start in range(0, count, _ROWS):
        agreement = signs[start : start + _ROWS] @ signs.T  # bits - 2 * Hamming distance
        i, j = np.nonzero(agreement >= bits - 2 * max_bits)
        pairs.append(np.stack([i + start, j], 1)[i + start < j])
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), int)


def group_members(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Joins pairs into groups (union-find).

    Returns:
      Groups of indices from 0 to `count - 1`, each index in one group, in order.
    """
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs:
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    groups: dict[int, list[int]] = {}
    for index in range(count):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())
