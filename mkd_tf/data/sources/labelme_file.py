"""Reads one file of labelme: the shapes of one image.

    {"imagePath": "a.jpg", "imageWidth": 64, "imageHeight": 48, "shapes": [
      {"label": "cat", "shape_type": "rectangle", "points": [[10, 12], [30, 40]], "group_id": null}]}

Rectangles (of two corners in any order), polygons, circles (centre and a point of the edge),
lines and masks become the box around them. Shapes of equal label and `group_id` are parts
of one object, as in labelme's own converters.
Reference: https://github.com/wkentaro/labelme.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.masks import around, points_box
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.outlines import ellipse_box
from mkd_tf.data.sources.values import Box, flag, number, record_id
from mkd_tf.data.text_files import read_text

# The turned rectangles of labelme and of X-AnyLabeling are four corners.
_AROUND_POINTS = ("rectangle", "polygon", "linestrip", "line", "oriented_rectangle", "rotation")


@dataclasses.dataclass(frozen=True)
class LabelmeFile:
    """The content of a file; `size` is (width, height), None if the file does not give it."""

    image: str
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]
    problems: tuple[Problem, ...]


def read_labelme_file(path: Path, file: str, notices: Notices) -> LabelmeFile:
    """Reads a file, which problems call `file`.

    Raises:
      BadExample: if it is no JSON of labelme.
    """
    try:
        text = read_text(path)
        if not text.strip():
            raise BadExample("is empty", file)
        found = json.loads(text, object_hook=_without_image)
    except OSError as error:
        raise BadExample(f"cannot be read ({error.strerror})", file) from error
    except (ValueError, RecursionError) as error:
        raise BadExample(f"cannot be read as JSON ({error!s:.100})", file) from error
    if not isinstance(found, dict) or not isinstance(found.get("shapes"), list):
        raise BadExample("has no list `shapes`", file)
    objects: list[ImageObject] = []
    problems: list[Problem] = []
    groups: dict[tuple[str, Any], int] = {}
    for position, shape in enumerate(found["shapes"]):
        try:
            if not isinstance(shape, dict):
                raise BadExample("is no shape")
            box = _shape_box(shape)
        except BadExample as error:
            problems.append(Problem(file, position, str(error), None, "shape"))
            continue
        label, is_difficult, fault = _label(shape, file, notices)
        group = (label, record_id(shape.get("group_id")))
        if not fault and group[1] is not None and group in groups:
            first = objects[groups[group]]
            objects[groups[group]] = dataclasses.replace(first, box=around([first.box, box]))
            notices.add("merged", "labelme", "shapes of one label and group_id are one object", file)
            continue
        groups[group] = len(objects)
        objects.append(ImageObject(position, label, box, is_difficult, fault=fault))
    image = found.get("imagePath")
    return LabelmeFile(image if isinstance(image, str) else "", _size(found), tuple(objects), tuple(problems))


def _label(shape: dict[str, Any], file: str, notices: Notices) -> tuple[str, bool, str]:
    """Returns the class of a shape, whether it is difficult, and why it cannot be used; empty if it can."""
    label, is_difficult, fault = "", False, ""
    try:
        label = class_name(shape.get("label"), file, notices)
        flags = shape.get("flags")
        given = flags.get("difficult") if isinstance(flags, dict) else None
        is_difficult = flag(given, "difficult") | flag(shape.get("difficult"), "difficult")
    except BadExample as error:
        fault = str(error)
    return label, is_difficult, fault


def _without_image(record: dict[str, Any]) -> dict[str, Any]:
    """Drops the image that labelme puts into its files as text: the image file itself is read."""
    record.pop("imageData", None)
    return record


def _shape_box(shape: dict[str, Any]) -> Box:
    kind = shape.get("shape_type") or "polygon"  # files of before version 3 have polygons alone
    points = shape.get("points")
    if not isinstance(points, list):
        raise BadExample("no points")
    if kind == "circle":
        if len(points) != 2:
            raise BadExample(f"a circle of {len(points)} points, expected its centre and one of its edge")
        x, y, edge_x, edge_y = (number(v, "a coordinate") for p in points for v in _pair(p))
        radius = math.hypot(edge_x - x, edge_y - y)
        return ellipse_box(x, y, radius, radius)
    if kind == "mask":
        # Its points are the first and the last pixel of the mask, which belongs to it.
        xmin, ymin, xmax, ymax = points_box(points, "mask")
        return (xmin, ymin, xmax + 1, ymax + 1)
    if kind in _AROUND_POINTS:
        return points_box(points, str(kind))
    raise BadExample(f"a shape of type {kind!r:.40} has no box around an object")


def _pair(point: Any) -> list[Any]:
    if not isinstance(point, list) or len(point) != 2:
        raise BadExample(f"a point is {point!r:.40}, not x and y")
    return point


def _size(found: dict[str, Any]) -> tuple[int, int] | None:
    try:
        width, height = (round(number(found.get(key), key)) for key in ("imageWidth", "imageHeight"))
    except BadExample:
        return None
    return (width, height) if width > 0 and height > 0 else None
