"""COCO's precision over recall in NumPy: matching of all images and classes at a time.

What the reference implementation (pycocotools, `COCOeval.evaluateImg` and `accumulate`) computes
one image, class and threshold after the other, in float64 (the precision without 2^-52 in its
denominator, as faster-coco-eval has it):

    detections of an image and class are taken by falling score, the first `MAX_DETECTIONS` of them;
    each takes, of the objects with IoU >= t that no better one took, that of the largest IoU
    (of equal ones the last); an ignored object only if there is no other; a crowd takes any number,
    and its IoU is the intersection over the detection's area;
    a detection on an ignored object is neither true nor false, nor one without an object and
    outside of the range of areas.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

MAX_DETECTIONS = 100
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""Ranges of square pixels: all, small, medium, large."""


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """Objects of all images, or detections, one row each.

    Attributes:
      image, label: `[K]` int, numbers of the image and of the class.
      xywh: `[K, 4]` float64 in pixels.
      scores: `[K]` float, of detections.
      areas: `[K]` float64 square pixels, negative for objects to ignore.
      is_crowd: `[K]` bool.
    """

    image: np.ndarray
    label: np.ndarray
    xywh: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray

    def at(self, rows: np.ndarray) -> "Objects":
        """Returns some of the rows."""
        return Objects(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def precision(truth: Objects, found: Objects, num_classes: int) -> np.ndarray:
    """Returns the precision `[thresholds, recalls, classes, areas]`, -1 for a class without objects."""
    images = 1 + max(truth.image.max(initial=0), found.image.max(initial=0))
    truth = truth.at(np.lexsort((truth.image, truth.label)))
    found = found.at(np.lexsort((-found.scores, found.image, found.label)))
    pairs, first, count = np.unique(truth.label * images + truth.image, return_index=True, return_counts=True)
    pair = found.label * images + found.image
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    rank = np.arange(len(pair)) - np.repeat(starts, np.diff(starts, append=len(pair)))
    found, pair, rank = (
        found.at(rank < MAX_DETECTIONS),
        pair[rank < MAX_DETECTIONS],
        rank[rank < MAX_DETECTIONS],
    )

    ignored = truth.is_crowd[:, None] | _outside(truth.areas)
    matched = np.zeros((len(pair), len(THRESHOLDS), len(AREAS)), bool)
    left_out, taken = matched.copy(), np.zeros((len(truth.label), *matched.shape[1:]), bool)
    for rows, objects, is_object in _rounds(pair, rank, pairs, first, count):
        overlaps = _overlaps(found.xywh[rows, None], truth.xywh[objects], truth.is_crowd[objects])
        overlaps[~is_object] = -1
        near = overlaps.max(axis=1) >= THRESHOLDS[0]
        rows, objects, overlaps = rows[near], objects[near], overlaps[near]
        hit, at = _best(
            overlaps, ignored[objects], taken[objects] & ~truth.is_crowd[objects][..., None, None]
        )
        chosen = objects[np.arange(len(rows))[:, None, None], at]
        matched[rows] = hit
        areas = np.arange(len(AREAS))
        left_out[rows] = hit & ignored[chosen, areas]
        of, threshold, area = np.nonzero(hit)
        taken[chosen[of, threshold, area], threshold, area] = True
    left_out |= ~matched & _outside(found.xywh[:, 2] * found.xywh[:, 3])[:, None]
    return _accumulated(found, matched, left_out, truth.label, ignored, num_classes)


def _outside(areas: np.ndarray) -> np.ndarray:
    """Returns whether areas `[K]` are outside of each range: `[K, areas]`."""
    return (areas[:, None] < AREAS[:, 0]) | (areas[:, None] > AREAS[:, 1])


def _rounds(
    pair: np.ndarray, rank: np.ndarray, pairs: np.ndarray, first: np.ndarray, count: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields detections of different pairs of image and class, those of lower rank later.

    Each time the rows `[n]` of detections, the rows `[n, G]` of their pairs' objects, and whether
    there is one `[n, G]`. Pairs of about as many objects are together: G is at most twice their number.
    """
    if not len(pairs):
        return
    at = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
    rows = np.flatnonzero(pairs[at] == pair)
    size = np.ceil(np.log2(count[at[rows]])).astype("int64")
    order = np.lexsort((rank[rows], size))
    rows, size = rows[order], size[order]
    changes = np.flatnonzero(np.diff(size * MAX_DETECTIONS + rank[rows])) + 1
    for group in np.split(rows, changes):
        if len(group):
            own = at[group]
            place = np.arange(count[own].max())
            is_object = place < count[own, None]
            yield group, np.where(is_object, first[own, None] + place, first[own, None]), is_object


def _overlaps(found: np.ndarray, truth: np.ndarray, is_crowd: np.ndarray) -> np.ndarray:
    """Returns the IoU of boxes x, y, width, height that broadcast together; of crowds see above."""
    low, high = np.maximum(found[..., :2], truth[..., :2]), (x[..., 2:] + x[..., :2] for x in (found, truth))
    sides = np.minimum(*high) - low
    common = np.where((sides > 0).all(axis=-1), sides[..., 0] * sides[..., 1], 0.0)
    own, theirs = (x[..., 2] * x[..., 3] for x in (found, truth))
    union = np.where(is_crowd, own, own + theirs - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def _best(overlaps: np.ndarray, ignored: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether a detection takes an object, and which: `[n, thresholds, areas]` each.

    Args:
      overlaps: `[n, G]`.
      ignored: `[n, G, areas]`.
      taken: `[n, G, thresholds, areas]`.
    """
    # Numbers by rising overlap, of equal ones by place; objects that are not ignored above all others.
    number = np.argsort(np.argsort(overlaps, axis=1, kind="stable"), axis=1, kind="stable")
    number = number[..., None] + np.where(ignored, 0, overlaps.shape[1])
    enough = overlaps[..., None] >= np.minimum(THRESHOLDS, 1 - 1e-10)
    key = np.where(enough[..., None] & ~taken, number[:, :, None], -1)
    return key.max(axis=1) >= 0, key.argmax(axis=1)


def _accumulated(
    found: Objects,
    matched: np.ndarray,
    left_out: np.ndarray,
    labels: np.ndarray,
    ignored: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """Returns what `precision` returns, of rows that are sorted by class and image."""
    result = np.full((len(THRESHOLDS), len(RECALLS), num_classes, len(AREAS)), -1.0)
    edges = np.searchsorted(found.label, np.arange(num_classes + 1))
    for label in range(num_classes):
        objects = np.sum(~ignored[labels == label], axis=0)
        rows = np.arange(edges[label], edges[label + 1])
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        hits, out = np.moveaxis(matched[rows], 0, -1), np.moveaxis(left_out[rows], 0, -1)
        true = np.cumsum(hits & ~out, axis=-1).astype("float64")
        false = np.cumsum(~hits & ~out, axis=-1).astype("float64")
        share = true / np.maximum(false + true, 1)
        # The largest precision at this recall or any higher one; 0 beyond the last.
        share = np.maximum.accumulate(share[..., ::-1], axis=-1)[..., ::-1]
        share = np.concatenate([share, np.zeros((*share.shape[:2], 1))], axis=-1)
        for area in np.flatnonzero(objects):
            recall = true[:, area] / objects[area]
            for threshold, row in enumerate(recall):
                at = np.searchsorted(row, RECALLS, side="left")
                result[threshold, :, label, area] = share[threshold, area, at]
    return result
