"""From objects as read to an example: boxes on the displayed image, clipped, and what is unknown.

Every reader ends here, so that sizes, EXIF orientation, fractions, repeated objects and unusable
ones mean the same in every format.
"""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from mkd_tf.data.image_files import Scan, upright_box
from mkd_tf.data.sources import values
from mkd_tf.data.sources.examples import Example, ImageObject
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.values import Box

_ROUNDING_PX = 1  # tools differ by one when they scale


def finish_example(
    name: str,
    path: Path,
    scan: Scan,
    objects: Sequence[ImageObject],
    *,
    file: str,
    notices: Notices,
    kind: str = "object",
    size: tuple[int, int] | None = None,
    said_by: str = "the file says",
    lost: Sequence[Problem] = (),
    classes: Collection[str] | None = None,
    are_fractions: bool | None = None,
) -> tuple[Example, list[Problem]]:
    """Returns an image with its usable objects, and the problems of the others.

    An object that cannot be used never becomes background: its area is unknown if it is
    known, else the whole image is.

    Args:
      name, path, scan: of the image.
      objects: as read.
      file: theirs, relative to the data set.
      notices: hears of boxes that are read otherwise than they are written.
      kind: what an object's index counts.
      size: (width, height) of the image as annotated, None if unknown.
      said_by: the beginning of the message if another size was annotated, as in "<size> says".
      lost: problems of objects whose box could not be read.
      classes: the allowed ones; None for any.
      are_fractions: whether boxes are fractions of the image; None to find it out.

    Raises:
      BadExample: if the annotation was made for an image of another size.
    """
    boxes = [item.box for item in objects]
    is_stored = _is_stored(boxes, size, scan, said_by, file, notices)
    frame = (scan.height, scan.width) if is_stored and scan.is_turned else (scan.width, scan.height)
    if values.are_fractions(boxes) if are_fractions is None else are_fractions:
        if are_fractions is None:
            notices.add("changed", "boxes", "all within 0..1 and read as fractions of the image", file)
        boxes = [values.scaled_box(box, *frame) for box in boxes]
    good: list[ImageObject] = []
    problems, unknown = list(lost), [_whole(scan)] if lost else []
    seen: dict[tuple[str, Box, bool], int | str] = {}
    for item, box in zip(objects, boxes, strict=True):
        if is_stored:
            box = upright_box(box, scan.width, scan.height, scan.orientation)
        box_fault = values.box_fault(box, scan.width, scan.height)
        fault = box_fault or item.fault
        if not fault and classes is not None and item.name not in classes:
            fault = "class is not among those given"
        if fault:
            problems.append(Problem(file, item.index, fault, item.name or None, kind))
            unknown.append(_whole(scan) if box_fault else values.clipped(box, scan.width, scan.height))
        elif (item.name, box, item.is_crowd) in seen:
            message = "those that repeat the class and the box of another are read once"
            notices.add("merged", "objects", message, f"{file} {kind} {item.index}")
        else:
            seen[item.name, box, item.is_crowd] = item.index
            inside = values.clipped(box, scan.width, scan.height)
            good.append(dataclasses.replace(item, box=inside))
    return Example(name, path, scan, tuple(good), tuple(dict.fromkeys(unknown))), problems


def _whole(scan: Scan) -> Box:
    return (0.0, 0.0, float(scan.width), float(scan.height))


def _is_stored(
    boxes: Sequence[Box], size: tuple[int, int] | None, scan: Scan, said_by: str, file: str, notices: Notices
) -> bool:
    """Returns whether boxes lie on the image as it is stored, before EXIF orientation.

    A tool that ignores EXIF writes the stored size; its boxes then have to be turned with the
    image. Where the size does not say it, they are taken as displayed, with a notice.

    Raises:
      BadExample: if `size` is neither that of the displayed nor of the stored image.
    """
    displayed = (scan.width, scan.height)
    stored = displayed[::-1] if scan.is_turned else displayed
    if size is not None and not _alike(size, displayed) and not (scan.is_turned and size == stored):
        says, has = f"{size[0]}x{size[1]}", f"{scan.width}x{scan.height}"
        raise BadExample(f"{said_by} {says}, the image has {has}")
    if scan.orientation == 1 or not boxes:
        return False
    if size is None or _alike(displayed, stored):
        message = "EXIF turns or mirrors the image, and its size does not say whether boxes lie on the stored"
        notices.add("suspect", "images", f"{message} or on the displayed image: taken as displayed", file)
        return False
    if _alike(size, displayed):
        return False
    if not _fit(boxes, stored) and _fit(boxes, displayed):
        message = "the size is that before EXIF orientation, and boxes fit only the displayed image"
        notices.add("suspect", "images", f"{message}: taken as displayed", file)
        return False
    message = "the size is that before EXIF orientation: boxes are turned with the image"
    notices.add("changed", "images", message, file)
    return True


def _alike(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(size[0] - other[0]), abs(size[1] - other[1])) <= _ROUNDING_PX


def _fit(boxes: Sequence[Box], size: tuple[int, int]) -> bool:
    return all(values.box_fault(box, *size) is None for box in boxes)
