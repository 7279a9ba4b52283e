"""One VOC annotation file: what it says, and what is wrong with it.

Coordinates are taken as continuous pixels of the picture as it is displayed, that
is after EXIF orientation, as annotation tools show it; xmin 0 is the left edge.
"""

import dataclasses
import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax, as the file has them
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SLACK_PX = 2.0  # tools round and count from 1; further outside the box belongs to another picture


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes:
      file: the file that is wrong, relative to the data set's folder.
      object_index: position of the object in its file, from 0; None if the whole
        picture is meant.
      message: what is wrong.
      class_name: the object's class, where it has one.
    """

    file: str
    object_index: int | None
    message: str
    class_name: str | None = None

    def __str__(self) -> str:
        if self.object_index is None:
            return f"{self.file}: {self.message}"
        name = f" ({self.class_name})" if self.class_name else ""
        return f"{self.file} object {self.object_index}{name}: {self.message}"


class BadAnnotation(Exception):
    """The whole file cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True)
class VocObject:
    """One object; `index` counts from 0 in its file. `box` is within the picture once checked."""

    index: int
    name: str
    box: Box
    is_difficult: bool


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What a file says; `size` is (width, height), None where the file does not know."""

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]
    problems: tuple[Problem, ...]


def read_annotation(path: Path, file: str) -> Annotation:
    """Reads an annotation file.

    Args:
      path: where it is.
      file: how problems call it.

    Raises:
      BadAnnotation: if it is no XML, no annotation, or declares entities.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except DefusedXmlException as error:
        reason = f"it declares XML entities or refers to other files ({type(error).__name__})"
        raise BadAnnotation(f"{reason}, which is refused as unsafe") from error
    except (ParseError, ValueError, LookupError, OSError) as error:
        raise BadAnnotation(f"cannot be read as XML ({error})") from error
    if root.tag != "annotation":
        raise BadAnnotation(f"begins with <{root.tag}> instead of <annotation>")
    objects, problems = [], []
    for index, node in enumerate(root.findall("object")):
        name = (node.findtext("name") or "").strip()
        try:
            if not name:
                raise BadAnnotation("no <name>")
            objects.append(VocObject(index, name, _read_box(node), _is_true(node.findtext("difficult"))))
        except BadAnnotation as error:
            problems.append(Problem(file, index, str(error), name or None))
    filename = (root.findtext("filename") or "").strip() or None
    return Annotation(filename, _read_size(root), tuple(objects), tuple(problems))


def check_objects(
    objects: tuple[VocObject, ...], file: str, width: int, height: int
) -> tuple[list[VocObject], list[Problem]]:
    """Separates usable objects, clipped to the picture, from bad ones.

    Args:
      objects: as read.
      file: how problems call their file.
      width: of the displayed picture, pixels.
      height: likewise.
    """
    good, problems = [], []
    seen: dict[tuple[str, Box], int] = {}
    for item in objects:
        fault = _box_fault(item.box, width, height)
        first = seen.setdefault((item.name, item.box), item.index)
        if not fault and first != item.index:
            fault = f"repeats object {first}"
        if fault:
            problems.append(Problem(file, item.index, fault, item.name))
            continue
        xmin, ymin, xmax, ymax = item.box
        inside = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height))
        good.append(dataclasses.replace(item, box=inside))
    return good, problems


def _read_box(node: Element) -> Box:
    bndbox = node.find("bndbox")
    if bndbox is None:
        raise BadAnnotation("no <bndbox>")
    values = []
    for side in _SIDES:
        text = bndbox.findtext(side)
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadAnnotation(f"no <{side}>" if text is None else f"{side} is {text!r}, not a number")
        values.append(value)
    return (values[0], values[1], values[2], values[3])


def _read_size(root: Element) -> tuple[int, int] | None:
    """Many tools leave <size> out or write 0: then the picture alone decides."""
    try:
        width, height = (round(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")


def _box_fault(box: Box, width: int, height: int) -> str | None:
    xmin, ymin, xmax, ymax = box
    shown = f"[{', '.join(f'{v:g}' for v in box)}]"
    if xmin > xmax or ymin > ymax:
        return f"inverted box {shown}"
    if xmin == xmax or ymin == ymax:
        return f"zero-area box {shown}"
    if xmin >= width or ymin >= height or xmax <= 0 or ymax <= 0:
        return f"box {shown} lies outside the {width}x{height} picture"
    beyond = max(-xmin, -ymin, xmax - width, ymax - height)
    if beyond > _SLACK_PX:
        return f"box {shown} reaches {beyond:g} px beyond the {width}x{height} picture"
    return None
