"""Reads one file of CVAT, "CVAT for images 1.1": images with boxes, outlines and masks.

    <annotations>
      <meta><task><labels><label><name>cat</name></label></labels></task></meta>
      <image id="0" name="a.jpg" subset="Train" width="64" height="48">
        <box label="cat" occluded="0" xtl="10" ytl="12" xbr="30" ybr="40" rotation="45.0"/>
        <polygon label="cat" points="1.0,2.0;3.0,4.0;5.0,1.0"/>
        <mask label="cat" rle="3, 5, 2" left="10" top="12" width="5" height="2"/>
      </image>
    </annotations>

Outlines, ellipses, cuboids, masks and turned boxes become the box around them; the attribute
`difficult` of a shape is its flag. Tracks of a video hold key frames alone, not a box for
each image: such a file is refused.
Reference: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from mkd_tf.checks import fail
from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.masks import points_box, rle_box
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.outlines import ellipse_box, turned_box
from mkd_tf.data.sources.values import Box, flag, number
from mkd_tf.data.text_files import xml_fault

_SIDES = ("xtl", "ytl", "xbr", "ybr")
_CUBOID = [f"{axis}{corner}{face}" for face in "12" for corner in ("tl", "bl", "tr", "br") for axis in "xy"]
_SHAPES = ("box", "polygon", "polyline", "mask", "ellipse", "cuboid", "points", "skeleton")
_FLAGS = ("difficult", "is_difficult", "ignore")
_LONGEST_SIDE = 1 << 20
_AS_IMAGES = "Export the task as 'CVAT for images 1.1', which writes the boxes of every frame."


@dataclasses.dataclass(frozen=True, slots=True)
class CvatImage:
    """An image as a file lists it; `size` is (width, height), None if the file does not give it."""

    index: str
    name: str
    subset: str
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]
    problems: tuple[Problem, ...]


@dataclasses.dataclass(frozen=True)
class CvatFile:
    """The content of a file: the classes in the order of its labels, and its images."""

    class_names: tuple[str, ...]
    images: tuple[CvatImage, ...]


def read_cvat_file(path: Path, file: str, notices: Notices) -> CvatFile:
    """Reads a file, which problems call `file`, in memory proportional to its objects.

    Raises:
      MkdError: if it is no XML, not of CVAT, or of a video.
    """
    where = f"annotations {path}"
    names: dict[str, None] = {}
    images: list[CvatImage] = []
    top: Element | None = None
    try:
        for event, node in ElementTree.iterparse(path, events=("start", "end")):
            if top is None:
                top = node
                if node.tag != "annotations":
                    got = f"<{node.tag}>"
                    fail(where, expected="<annotations> of CVAT", got=got, do="Give a file of CVAT.")
            elif event == "start":
                continue
            elif node.tag == "label" and node.find("name") is not None:
                names.update(_label(node, where, file, notices))
            elif node.tag == "track":
                fail(where, expected="images with boxes", got="tracks of a video", do=_AS_IMAGES)
            elif node.tag == "image":
                images.append(_image(node, len(images), file, notices))
                top.clear()
    except DefusedXmlException as error:
        got = f"XML entities ({type(error).__name__})"
        fail(where, expected="plain XML", got=got, do="Remove them: such files are refused as unsafe.")
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            raise
        fail(where, expected="XML", got=xml_fault(path, error), do="Correct the file or export it again.")
    except OSError as error:
        fail(where, expected="a readable file", got=str(error.strerror), do="Correct the path.")
    return CvatFile(tuple(names), tuple(images))


def _label(node: Element, where: str, file: str, notices: Notices) -> dict[str, None]:
    """Returns the class of a label; nothing for the points of a skeleton, which are labels of their own."""
    if (node.findtext("parent") or "").strip():
        return {}
    try:
        return {class_name(node.findtext("name"), file, notices): None}
    except BadExample as error:
        fail(where, expected="a name for each label", got=str(error), do="Correct the labels.")


def _image(node: Element, position: int, file: str, notices: Notices) -> CvatImage:
    index = node.get("id") or f"number {position}"
    name = node.get("name") or ""
    objects: list[ImageObject] = []
    problems: list[Problem] = []
    for shape in node:
        if shape.tag == "tag":
            notices.add("unused", file, "tags of whole images are not read", name)
        if shape.tag not in _SHAPES:
            continue
        number_in_image = len(objects) + len(problems)
        try:
            box = _shape_box(shape)
        except BadExample as error:
            problems.append(
                Problem(f"{file} image {name or index}", number_in_image, str(error), None, "shape")
            )
            continue
        label, is_difficult, fault = "", False, ""
        try:
            label = class_name(shape.get("label"), file, notices)
            is_difficult = any(flag(_attribute(shape, what), what) for what in _FLAGS)
        except BadExample as error:
            fault = str(error)
        objects.append(ImageObject(number_in_image, label, box, is_difficult, fault=fault))
    size = _size(node.attrib)
    return CvatImage(index, name, node.get("subset") or "", size, tuple(objects), tuple(problems))


def _attribute(shape: Element, name: str) -> str | None:
    for node in shape.findall("attribute"):
        if (node.get("name") or "").strip().lower() == name:
            return node.text
    return None


def _shape_box(shape: Element) -> Box:
    kind, found = shape.tag, shape.attrib
    if kind == "box":
        corners = [number(found.get(side), side) for side in _SIDES]
        box = (corners[0], corners[1], corners[2], corners[3])
        return turned_box(box, number(found.get("rotation", 0), "rotation"))
    if kind in ("polygon", "polyline"):
        pairs = [pair.split(",") for pair in (found.get("points") or "").split(";") if pair.strip()]
        return points_box(pairs, kind)
    if kind == "ellipse":
        cx, cy, rx, ry = (number(found.get(key), key) for key in ("cx", "cy", "rx", "ry"))
        return ellipse_box(cx, cy, rx, ry, number(found.get("rotation", 0), "rotation"))
    if kind == "cuboid":
        return points_box([found.get(key) for key in _CUBOID], "cuboid")
    if kind == "mask":
        return _mask_box(found)
    raise BadExample(f"<{kind}> has no box around an object")


def _mask_box(found: Mapping[str, str]) -> Box:
    """Returns the box of a mask: runs of 0, 1, 0, ... along the rows of a rectangle of the image."""
    keys = ("left", "top", "width", "height")
    left, top, width, height = (number(found.get(key), f"{key} of its mask") for key in keys)
    if max(width, height) > _LONGEST_SIDE:
        raise BadExample(f"its mask is {width:g}x{height:g}")
    counts = [int(number(count, "a run of its mask")) for count in (found.get("rle") or "").split(",")]
    # COCO's runs go down the columns: those of the transposed mask are the same numbers.
    box = rle_box(counts, (width, height))
    if box is None:
        raise BadExample("its mask is empty")
    return (left + box[1], top + box[0], left + box[3], top + box[2])


def _size(found: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        width, height = (round(number(found.get(key), key)) for key in ("width", "height"))
    except BadExample:
        return None
    return (width, height) if width > 0 and height > 0 else None
