"""What of two networks is compared with each other: taps of equal grid, anchors of equal place."""

import re

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Float, Int
from mkd_tf.strategies.base import Port


def _kind(tap: str) -> str:
    """Returns `C` or `P`; an empty string for a tap of another form of name."""
    return tap[0] if re.fullmatch(r"[CP]\d", tap) else ""


def pair_levels(source: Port, target: Port, taps: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns the pairs of taps of equal grid: `[(source tap, target tap), ...]`.

    A teacher at twice the student's input size has the student's P3 grid at its P4. A
    backbone's map (C) is never paired with a pyramid's (P).

    Raises:
      MkdError: if no two grids agree.
    """
    pairs = [
        (s, t)
        for t in taps
        for s in taps
        if _kind(s) == _kind(t) and source.shape(s)[:2] == target.shape(t)[:2]
    ]
    if not pairs:
        fail(
            f"taps {', '.join(taps)}",
            expected="a common grid of source and target",
            got=f"{[source.shape(s)[:2] for s in taps]} and {[target.shape(t)[:2] for t in taps]}",
            do="Choose input sizes whose ratio is a power of two.",
        )
    return pairs


def level_cells(name: str, port: Port, taps: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Returns the numbers of anchors and of cells of every level, of which there is one for each tap.

    Raises:
      MkdError: if taps and levels of anchors do not agree.
    """
    counts = port.anchors.level_counts
    cells = [port.shape(tap)[0] * port.shape(tap)[1] for tap in taps]
    if len(cells) != len(counts) or any(n % c for n, c in zip(counts, cells, strict=True)):
        fail(
            f"taps of {name}",
            expected=f"one for each level of anchors, {', '.join(map(str, counts))} of them",
            got=f"{', '.join(taps)} with {', '.join(map(str, cells))} cells",
            do="Name one tap per level, as in taps=('P3', 'P4', 'P5').",
        )
    return tuple(zip(counts, cells, strict=True))


def match_anchors(
    source: Anchors, target: Anchors, least_iou: float = 0.5
) -> tuple[Int[np.ndarray, " anchors"], Float[np.ndarray, " anchors"]]:
    """Finds for every anchor of the target the source's anchor of largest overlap.

    Boxes are compared as fractions of the image, so detectors may differ in input size
    and anchor grid; for equal grids the match is the identity.

    Returns:
      For each anchor of the target, the index of the source's anchor, int32, and whether
      it matches: float32, 0 where their IoU is under `least_iou`.
    """
    ours, theirs = target.normalized(), source.normalized()
    if ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-6):
        return np.arange(len(ours), dtype="int32"), np.ones(len(ours), "float32")
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    size_a, size_b = (np.prod(a[:, 2:] - a[:, :2], axis=-1) for a in (ours, theirs))
    overlap = common / (size_a[:, None] + size_b[None] - common)
    return overlap.argmax(1).astype("int32"), (overlap.max(1) >= least_iou).astype("float32")
