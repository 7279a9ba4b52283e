"""What looks wrong in a data set without being an error of its files: one check is one function.

A suspect is a hint for people: every one of them can be right in some data set.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mkd_tf.inspection.contents import Contents
from mkd_tf.schemas.inspection import Place, Suspect

SHOWN = 12
"""Places that are named of each kind, at most."""
TINY_PX = 2.0
"""Shorter side of a box in pixels of the original image below which it is hardly an object."""
WHOLE_SHARE = 0.95
"""Share of the image that a box covers which is more likely a label of the whole image."""
DOUBLE_IOU = 0.9
"""Overlap of two boxes in one image that are more likely two labels of one object."""
_LEAST_IMAGES, _LEAST_OBJECTS = 10, 30
_LONG = 1.15

Splits = Mapping[str, Contents]
Check = Callable[[Splits, tuple[str, ...]], list[Suspect]]


def suspect(kind: str, message: str, places: Sequence[Place] = (), count: int | None = None) -> Suspect:
    """Returns a suspect; `count` is that of the places unless it is given."""
    number = len(places) if count is None else count
    return {"kind": kind, "count": number, "message": message, "places": [*places[:SHOWN]]}


def spread(places: Sequence[Place]) -> list[Place]:
    """Returns places in an order in which the first ones are of different images."""
    seen: dict[tuple[str, str], int] = {}
    turns = []
    for place in places:
        key = place["split"], place["image"]
        seen[key] = seen.get(key, 0) + 1
        turns.append(seen[key])
    return [places[i] for i in sorted(range(len(places)), key=lambda i: turns[i])]


def places_of(contents: Contents, chosen: np.ndarray) -> list[Place]:
    """Returns the places of objects, given by their indices `[K]`."""
    first = np.searchsorted(contents.image, contents.image[chosen])
    return [
        {"split": contents.split, "image": contents.ids[contents.image[i]], "object": int(i - start)}
        for i, start in zip(chosen.tolist(), first.tolist(), strict=True)
    ]


def _objects(splits: Splits, chosen: Callable[[Contents], np.ndarray]) -> list[Place]:
    found = []
    for contents in splits.values():
        found += places_of(contents, np.flatnonzero(chosen(contents) & contents.is_object))
    return spread(found)


def comparable(name: str) -> str:
    """Returns a class's name as people hear it: without case, marks of width, dashes and white space."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in plain if c.isalnum()) or plain


def similar_names(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds classes whose names differ in case, white space, dashes or the form of letters alone."""
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault(comparable(name), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    return [
        suspect("similar names", f"classes {' and '.join(map(repr, names))} may be one class", count=1)
        for names in alike
    ]


def empty_classes(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds classes without an object in any split."""
    counts = _counts(splits, class_names)
    total = sum(counts.values(), np.zeros(len(class_names), int))
    names = [name for name, count in zip(class_names, total.tolist(), strict=True) if not count]
    if not names:
        return []
    return [suspect("empty class", f"no object of {_listed(names)} in any split", count=len(names))]


def lonely_classes(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds classes whose objects are all in one of several labelled splits, or never in training."""
    counts = {s: c for s, c in _counts(splits, class_names).items() if s != "unlabelled"}
    if len(counts) < 2:
        return []
    table = np.array(list(counts.values())) > 0
    alone = np.flatnonzero(table.sum(axis=0) == 1)
    found: dict[str, list[str]] = {}
    for label in alone.tolist():
        found.setdefault(list(counts)[int(np.argmax(table[:, label]))], []).append(class_names[label])
    made = []
    for split, names in found.items():
        if split == "train":
            do = f"only in train, so that nothing measures {'it' if len(names) == 1 else 'them'}"
        else:
            do = f"only in {split}, so that no network can learn {'it' if len(names) == 1 else 'them'}"
        made.append(suspect("class in one split", f"objects of {_listed(names)}: {do}", count=len(names)))
    return made


def tiny_boxes(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds boxes that are hardly larger than a pixel."""
    found = _objects(splits, lambda c: c.sides.min(axis=1) < TINY_PX)
    return [suspect("tiny box", f"a side of less than {TINY_PX:g} px of the image", found)] if found else []


def whole_images(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds boxes that cover the whole image."""
    found = _objects(splits, lambda c: (c.boxes[:, 2:] - c.boxes[:, :2]).prod(axis=1) >= WHOLE_SHARE)
    if not found:
        return []
    return [suspect("whole image", f"the box covers at least {WHOLE_SHARE:.0%} of its image", found)]


def double_labels(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds boxes that nearly equal another one in their image: of one class, or of two."""
    same: list[Place] = []
    other: list[Place] = []
    for contents in splits.values():
        for first, second in _overlapping(contents):
            is_same = contents.labels[first] == contents.labels[second]
            (place,) = places_of(contents, np.array([second]))
            names = [class_names[contents.labels[i]] for i in (first, second)]
            (same if is_same else other).append({**place, "note": " / ".join(dict.fromkeys(names))})
    made = []
    if same:
        made.append(suspect("double label", f"IoU over {DOUBLE_IOU:g} with one of its class", spread(same)))
    if other:
        text = f"IoU over {DOUBLE_IOU:g} with one of another class"
        made.append(suspect("two classes", text, spread(other)))
    return made


def swapped_axes(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Finds splits whose boxes never leave the square of the shorter side, as if x and y were swapped.

    A box of swapped coordinates that lies inside its image has both ends within the shorter side.
    Of objects that are spread over images of 4 : 3, 30 all do so by chance once in 5,000 times.
    """
    made = []
    for contents in splits.values():
        height, width = contents.height_width[contents.image].T
        ends = contents.boxes[:, 2:] * np.stack([height, width], axis=1)
        for axis, word, wide in ((1, "wide", width / height), (0, "high", height / width)):
            chosen = contents.is_object & (wide > _LONG)
            images = len(np.unique(contents.image[chosen]))
            if images < _LEAST_IMAGES or chosen.sum() < _LEAST_OBJECTS:
                continue
            if (ends[chosen, axis] <= np.minimum(height, width)[chosen] + 1).all():
                side, long = ("height", "width")[:: 1 if axis else -1]
                text = (
                    f"x and y may be swapped in {contents.split}: none of {int(chosen.sum())} boxes in "
                    f"{images} {word} images reaches further along the {long} than the {side} is long"
                )
                made.append(suspect("swapped axes", text, count=int(chosen.sum())))
    return made


CHECKS: dict[str, Check] = {
    "similar names": similar_names,
    "empty class": empty_classes,
    "class in one split": lonely_classes,
    "tiny box": tiny_boxes,
    "whole image": whole_images,
    "double label": double_labels,
    "swapped axes": swapped_axes,
}
"""What is looked for in annotations alone; copies of images are found by `copies`."""


def find_suspects(splits: Splits, class_names: tuple[str, ...]) -> list[Suspect]:
    """Returns what every check finds."""
    return [found for check in CHECKS.values() for found in check(splits, class_names)]


def _counts(splits: Splits, class_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {
        name: np.bincount(c.labels[c.is_object], minlength=len(class_names))
        for name, c in splits.items()
        if c.is_labelled.any()
    }


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(map(repr, names[:8])) + more


def _overlapping(contents: Contents) -> Iterable[tuple[int, int]]:
    """Yields pairs of objects of one image whose IoU is over `DOUBLE_IOU`, the first one first."""
    kept = np.flatnonzero(contents.is_object)
    # Boxes that nearly coincide have nearly the same upper edge: only neighbours are compared.
    order = kept[np.lexsort((contents.boxes[kept, 0], contents.image[kept]))]
    boxes, image = contents.boxes[order], contents.image[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    high, slack = boxes[:, 2] - boxes[:, 0], 1 / DOUBLE_IOU - 1
    for step in range(1, len(order)):
        a, b = slice(None, -step), slice(step, None)
        near = (image[a] == image[b]) & (boxes[b, 0] - boxes[a, 0] <= slack * high[a] + 1e-9)
        if not near.any():
            return
        inner = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
        shared = np.maximum(inner, 0).prod(axis=1)
        union = np.maximum(areas[a] + areas[b] - shared, 1e-12)
        for i in np.flatnonzero(near & (shared / union > DOUBLE_IOU)).tolist():
            yield tuple(sorted((int(order[i]), int(order[i + step]))))  # type: ignore[misc]
