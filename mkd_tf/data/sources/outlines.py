"""Boxes around what annotation tools draw beside boxes and polygons: turned rectangles, ellipses, brushes.

Boxes are (xmin, ymin, xmax, ymax) in the unit of the arguments; rotations are degrees,
clockwise as an image is displayed. Polygons and COCO's masks are in `masks`.
"""

import math
from collections.abc import Sequence

import numpy as np

from mkd_tf.data.sources.masks import points_box
from mkd_tf.data.sources.notices import BadExample
from mkd_tf.data.sources.values import Box

_MOST_PIXELS = 1 << 28


def turned_box(box: Box, degrees: float, pivot: tuple[float, float] | None = None) -> Box:
    """Returns the box around a rectangle that is turned about `pivot`, by default its centre.

    Example:
      >>> turned_box((0, 0, 4, 2), 90, pivot=(0, 0))  # its top side becomes its right one
      (-2.0, 0.0, 0.0, 4.0)
    """
    xmin, ymin, xmax, ymax = box
    if degrees % 360 == 0:
        return box
    x0, y0 = ((xmin + xmax) / 2, (ymin + ymax) / 2) if pivot is None else pivot
    cos, sin = _cos_sin(degrees)
    corners = [(x - x0, y - y0) for x, y in ((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax))]
    return points_box([(x0 + x * cos - y * sin, y0 + x * sin + y * cos) for x, y in corners], "rectangle")


def ellipse_box(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Box:
    """Returns the box around an ellipse with centre (x, y), turned about it.

    Half of its width is sqrt((radius_x cos)^2 + (radius_y sin)^2), and so its height with
    sine and cosine exchanged.
    """
    cos, sin = _cos_sin(degrees)
    half_width = math.hypot(radius_x * cos, radius_y * sin)
    half_height = math.hypot(radius_x * sin, radius_y * cos)
    return x - half_width, y - half_height, x + half_width, y + half_height


def brush_box(packed: Sequence[int], width: int, height: int) -> Box | None:
    """Returns the box around a brush of Label Studio in pixels; None if nothing is painted.

    The brush is the alpha of a run-length encoded RGBA image. The bits of `packed` bytes are:
    the number of words (32), bits of a word less 1 (5), bits of the four kinds of length
    less 1 (4 each); then blocks: is it a run (1), which kind of length (2), the length less 1,
    and one word for a run, else `length` words (thi.ng/umbrella, `rle-pack`).

    Raises:
      BadExample: if they do not decode to `width * height` pixels.
    """
    if not all(isinstance(value, int) and 0 <= value < 256 for value in packed):
        raise BadExample("its brush is no list of bytes")
    bits = "".join(f"{value:08b}" for value in packed)
    position = 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        if position > len(bits):
            raise BadExample("its brush ends too early")
        return int(bits[position - count : position], 2)

    size, word = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    if size != width * height * 4 or not 0 < size <= 4 * _MOST_PIXELS:
        raise BadExample(f"its brush has {size // 4} pixels, for an image of {width}x{height}")
    is_painted = np.zeros(size, bool)
    done = 0
    while done < size:
        is_run = read(1)
        end = min(done + 1 + read(lengths[read(2)]), size)
        is_painted[done:end] = read(word) > 0 if is_run else [read(word) > 0 for _ in range(done, end)]
        done = end
    mask = is_painted.reshape(height, width, 4)[:, :, 3]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _cos_sin(degrees: float) -> tuple[float, float]:
    """Returns cosine and sine, exact for multiples of 90 degrees."""
    quarter, rest = divmod(degrees, 90)
    if rest == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
