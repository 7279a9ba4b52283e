"""Near-duplicates: copies, resized or recompressed pictures, neighbouring frames of a video.

One on each side of a split would make a test result look better than it is.
"""

from collections.abc import Iterable, Sequence

import numpy as np

# Of 128. In two sets of photographs shots of one scene lay within 11, others from 16 on.
MAX_BITS = 12
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


def group_members(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Joins pairs into groups (union-find).

    Args:
      names: what is grouped.
      pairs: names that belong together; those not in `names` are passed over.

    Returns:
      Groups, each name in one, in the order of `names`.
    """
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, second in pairs:
        if first in parent and second in parent:
            parent[root(second)] = root(first)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())
