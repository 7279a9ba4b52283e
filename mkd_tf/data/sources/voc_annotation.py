"""Reads one VOC annotation file: its objects, and the problems in it."""

import dataclasses
import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from mkd_tf.data.sources.examples import BadExample, Box, ImageObject, Problem

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The content of a file; `size` is (width, height), None if the file does not give it."""

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]
    problems: tuple[Problem, ...]


def read_annotation(path: Path, file: str) -> Annotation:
    """Reads an annotation file, which problems call `file`.

    Raises:
      BadExample: if it is not XML, not an annotation, or declares entities.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except DefusedXmlException as error:
        reason = f"it declares XML entities or refers to other files ({type(error).__name__})"
        raise BadExample(f"{reason}, which is refused as unsafe") from error
    except (ParseError, ValueError, LookupError, OSError) as error:
        raise BadExample(f"cannot be read as XML ({error})") from error
    if root.tag != "annotation":
        raise BadExample(f"begins with <{root.tag}> instead of <annotation>")
    objects, problems = [], []
    for index, node in enumerate(root.findall("object")):
        name = (node.findtext("name") or "").strip()
        try:
            if not name:
                raise BadExample("no <name>")
            is_difficult = (node.findtext("difficult") or "").strip().lower() in ("1", "true", "yes")
            objects.append(ImageObject(index, name, _read_box(node), is_difficult))
        except BadExample as error:
            problems.append(Problem(file, index, str(error), name or None))
    filename = (root.findtext("filename") or "").strip() or None
    return Annotation(filename, _read_size(root), tuple(objects), tuple(problems))


def _read_box(node: Element) -> Box:
    bndbox = node.find("bndbox")
    if bndbox is None:
        raise BadExample("no <bndbox>")
    values = []
    for side in _SIDES:
        text = bndbox.findtext(side)
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadExample(f"no <{side}>" if text is None else f"{side} is {text!r}, not a number")
        values.append(value)
    return (values[0], values[1], values[2], values[3])


def _read_size(root: Element) -> tuple[int, int] | None:
    """Returns (width, height); None for a missing or zero <size>, as many tools write."""
    try:
        width, height = (round(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None
