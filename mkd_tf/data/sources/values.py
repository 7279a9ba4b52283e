"""Values of annotation files: ids, flags, numbers and boxes, read alike in every format.

A value that cannot be read raises `BadExample`, whose text says what was found.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mkd_tf.data.sources.notices import BadExample

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in continuous pixels; x 0 is the left edge of the image."""
MIN_SIDE_PX = 1.0
"""A box with a shorter side shows nothing: such boxes are fractions, or clicks without a drag."""
_SLACK_PX = 2.0  # tools round and count from 1; a box further outside belongs to another image
_ROUNDING = 1e-6  # of x + width
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}(\.0*)?")  # Python reads no longer ones
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_FLAGS = {"1": True, "true": True, "yes": True, "y": True, "t": True}
_FLAGS |= dict.fromkeys(("0", "false", "no", "n", "f", "", "null", "none", "nan"), False)


def record_id(value: object) -> int | str | None:
    """Returns an id by its value: 7 for 7, 7.0, "7" and "007"; other text as it is; None for the rest."""
    if type(value) is int:  # nearly all are; bool is another type
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    if isinstance(value, str):
        text = value.strip()
        return int(text.split(".")[0]) if _INTEGER.fullmatch(text) else text or None
    return value if isinstance(value, int) else None


def flag(value: object, what: str) -> bool:
    """Returns whether a flag is set: 0, 1, false, true, yes or no, as number or text; nothing is 0.

    Args:
      value: as written; None and NaN stand for a flag that was not given.
      what: its name, as in "iscrowd".

    Raises:
      BadExample: for any other value.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        text = value.strip().lower()
        found = _FLAGS.get(str(record_id(text)) if _INTEGER.fullmatch(text) else text)
        if found is not None:
            return found
    raise BadExample(f"{what} is {value!r:.40}, expected 0 or 1")


def number(value: object, what: str) -> float:
    """Returns a finite number, given as number or text.

    Raises:
      BadExample: for anything else; a decimal comma is named.
    """
    if type(value) is float and math.isfinite(value):  # nearly all are
        return value
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            value = float(text)
        elif _COMMA.fullmatch(text):
            point = text.replace(",", ".")
            raise BadExample(f"{what} is {value!r:.40} with a decimal comma, not a number: write {point}")
    elif isinstance(value, int) and abs(value) > 1e15 and not isinstance(value, bool):
        value = None if value.bit_length() > 1000 else value  # float() of a longer one overflows
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise BadExample(f"{what} is {value!r:.40}, not a number")


def box_of_corners(corners: Sequence[Any], what: str = "corner") -> Box:
    """Returns the box of two opposite corners `x, y, x, y` in any order, for tools that keep the drag's."""
    x0, y0, x1, y1 = (number(value, what) for value in corners)
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def are_fractions(boxes: Iterable[Box]) -> bool:
    """Returns whether all coordinates of at least one box lie within 0..1: fractions of the image.

    In pixels, all of these boxes would be smaller than one pixel in the image's corner.
    """
    found = list(boxes)
    return bool(found) and all(-_ROUNDING <= side <= 1 + _ROUNDING for box in found for side in box)


def scaled_box(box: Box, width: float, height: float) -> Box:
    """Returns a box of fractions in pixels of an image of `width` x `height`."""
    return (box[0] * width, box[1] * height, box[2] * width, box[3] * height)


def shown_box(box: Sequence[float]) -> str:
    """Returns a box as messages show it."""
    return f"[{', '.join(f'{v:g}' for v in box)}]"


def box_fault(box: Box, width: int, height: int) -> str | None:
    """Returns what is wrong with a box in an image of `width` x `height` pixels, None if nothing is."""
    xmin, ymin, xmax, ymax = box
    shown = shown_box(box)
    if xmin > xmax or ymin > ymax:
        return f"inverted box {shown}"
    if xmin == xmax or ymin == ymax:
        return f"zero-area box {shown}"
    if xmin >= width or ymin >= height or xmax <= 0 or ymax <= 0:
        return f"box {shown} lies outside the {width}x{height} image"
    beyond = max(-xmin, -ymin, xmax - width, ymax - height)
    if beyond > _SLACK_PX:
        return f"box {shown} reaches {beyond:g} px beyond the {width}x{height} image"
    if min(xmax - xmin, ymax - ymin) < MIN_SIDE_PX:
        return f"box {shown} is {xmax - xmin:g}x{ymax - ymin:g} px, under {MIN_SIDE_PX:g} px"
    return None


def clipped(box: Box, width: float, height: float) -> Box:
    """Returns the part of a box inside an image of `width` x `height` pixels."""
    xmin, ymin, xmax, ymax = box
    return (max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height))
