"""Reads one VOC annotation file: its objects, and the problems in it.

An <object> with several <bndbox> is several objects; without one, its box is that around
its <polygon>, or around the turned box <robndbox> of roLabelImg.
"""

import dataclasses
import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.masks import points_box
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.outlines import turned_box
from mkd_tf.data.sources.values import Box, flag, number
from mkd_tf.data.text_files import xml_fault
from mkd_tf.file_limits import check_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("cx", "cy", "w", "h", "angle")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The content of a file; `size` is (width, height), None if the file does not give it."""

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]
    problems: tuple[Problem, ...]


def read_annotation(path: Path, file: str, notices: Notices) -> Annotation:
    """Reads an annotation file, which problems call `file`.

    Raises:
      BadExample: if it is not XML, not an annotation, or declares entities.
    """
    try:
        root = ElementTree.parse(check_text(path)).getroot()
    except MkdError as error:
        raise BadExample(str(error)) from error
    except DefusedXmlException as error:
        reason = f"it declares XML entities or refers to other files ({type(error).__name__})"
        raise BadExample(f"{reason}, which is refused as unsafe") from error
    except (ParseError, ValueError, LookupError, OSError) as error:
        raise BadExample(f"cannot be read as XML ({xml_fault(path, error)})") from error
    if root.tag != "annotation":
        raise BadExample(f"begins with <{root.tag}> instead of <annotation>")
    objects: list[ImageObject] = []
    problems: list[Problem] = []
    for index, node in enumerate(root.findall("object")):
        name, fault = _name(node, file, notices)
        is_difficult = False
        try:
            is_difficult = flag(node.findtext("difficult"), "<difficult>")
        except BadExample as error:
            fault = fault or str(error)
        try:
            boxes = _read_boxes(node)
        except BadExample as error:
            problems.append(Problem(file, index, fault or str(error), name or None))
            continue
        if len(boxes) > 1:
            message = "one with several boxes is read as several"
            notices.add("changed", "objects", message, f"{file} object {index}")
        objects += [ImageObject(index, name, box, is_difficult, fault=fault) for box in boxes]
    filename = (root.findtext("filename") or "").strip() or None
    return Annotation(filename, _read_size(root), tuple(objects), tuple(problems))


def _name(node: Element, file: str, notices: Notices) -> tuple[str, str]:
    """Returns an object's class, and what is wrong with it."""
    text = node.findtext("name")
    if not (text or "").strip():
        return "", "no <name>"
    try:
        return class_name(text, file, notices), ""
    except BadExample as error:
        return "", str(error)


def _read_boxes(node: Element) -> list[Box]:
    found = [_sides(bndbox) for bndbox in node.findall("bndbox")]
    for turned in node.findall("robndbox"):
        x, y, width, height, radians = (_number(turned, key) for key in _TURNED)
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(turned_box(box, math.degrees(radians)))
    if not found and (polygons := node.findall("polygon")):
        found = [points_box(_points(polygon)) for polygon in polygons]
    if not found:
        raise BadExample("no <bndbox>")
    return found


def _sides(bndbox: Element) -> Box:
    xmin, ymin, xmax, ymax = (_number(bndbox, side) for side in _SIDES)
    return (xmin, ymin, xmax, ymax)


def _number(parent: Element, key: str) -> float:
    text = parent.findtext(key)
    if text is None:
        raise BadExample(f"no <{key}>")
    return number(text, key)


def _points(polygon: Element) -> list[str | None]:
    """Returns x, y, x, y, ... of <pt><x/><y/></pt> elements, or of <x1/><y1/><x2/>."""
    points = polygon.findall("pt")
    if points:
        return [point.findtext(axis) for point in points for axis in "xy"]
    count = sum(child.tag.startswith("x") for child in polygon)
    return [polygon.findtext(f"{axis}{i}") for i in range(1, count + 1) for axis in "xy"]


def _read_size(root: Element) -> tuple[int, int] | None:
    """Returns (width, height); None for a missing or zero <size>, as many tools write."""
    try:
        width, height = (round(number(root.findtext(f"size/{side}"), side)) for side in ("width", "height"))
    except BadExample:
        return None
    return (width, height) if width > 0 and height > 0 else None
