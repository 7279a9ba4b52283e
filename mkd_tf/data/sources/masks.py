"""Boxes around outlines: polygons and run-length masks, for objects that have no box."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mkd_tf.data.sources.notices import BadExample
from mkd_tf.data.sources.values import Box, number


def points_box(coordinates: Sequence[Any], what: str = "polygon") -> Box:
    """Returns the box around points, given as `[x, y, x, y, ...]`, `[[x, y], ...]` or `[{"x": .., "y": ..}]`.

    Raises:
      BadExample: if there are fewer than two points, or one is not a pair of numbers.
    """
    flat: list[Any] = []
    for item in coordinates:
        if isinstance(item, dict):
            flat += [item.get("x"), item.get("y")]
        elif isinstance(item, list | tuple):
            if len(item) < 2:
                raise BadExample(f"a point of its {what} is {item!r:.40}, not x and y")
            flat += item[:2]
        else:
            flat.append(item)
    values = [number(value, f"a coordinate of its {what}") for value in flat]
    if len(values) < 4 or len(values) % 2:
        raise BadExample(f"its {what} has {len(values)} coordinates, expected x and y of two points or more")
    return (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))


def around(boxes: Sequence[Box]) -> Box:
    """Returns the box around boxes."""
    low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return (float(low[0]), float(low[1]), float(high[2]), float(high[3]))


def segmentation_box(segmentation: Any) -> Box | None:
    """Returns the box around a COCO `segmentation`: polygons, or a run-length mask; None if it is empty.

    Raises:
      BadExample: if it is neither.
    """
    if isinstance(segmentation, dict):
        return rle_box(segmentation.get("counts"), segmentation.get("size"))
    if segmentation is None or segmentation == []:
        return None
    if not isinstance(segmentation, list):
        raise BadExample(f"its segmentation is {segmentation!r:.40}, not polygons or a mask")
    nested = all(isinstance(part, list) for part in segmentation)
    parts = [part for part in segmentation if part] if nested else [segmentation]
    return around([points_box(part) for part in parts]) if parts else None


def rle_box(counts: Any, size: Any) -> Box | None:
    """Returns the box around a mask in COCO's run-length code; None if the mask is empty.

    Args:
      counts: lengths of runs of 0, 1, 0, ... down the columns, as a list, or as COCO's text.
      size: (height, width).

    Raises:
      BadExample: if the runs do not fill the mask.
    """
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise BadExample(f"the size of its mask is {size!r:.40}, not height and width")
    height, width = (int(number(side, "a side of its mask")) for side in size)
    if isinstance(counts, str | bytes):
        counts = _decoded(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise BadExample(f"the runs of its mask are {counts!r:.40}, not counts")
    if sum(counts) != height * width or height < 1 or width < 1:
        raise BadExample(f"the runs of its mask fill {sum(counts)} of {height}x{width} pixels")
    ends = np.cumsum(np.array(counts, "int64"))
    first, last = ends[:-1:2], ends[1::2] - 1  # of each run of ones
    first = first[: len(last)]
    first, last = first[last >= first], last[last >= first]
    if not len(first):
        return None
    crosses = first // height != last // height  # then it holds the last row and the first one
    top = np.where(crosses, 0, first % height).min()
    bottom = np.where(crosses, height - 1, last % height).max()
    return (float((first // height).min()), float(top), float((last // height).max() + 1), float(bottom + 1))


def _decoded(text: bytes) -> list[int]:
    """Decodes COCO's text of runs: groups of 5 bits and a sign, from the third on as differences."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(text) or not 0 <= text[place] - 48 < 64:
                raise BadExample("the text of its mask is no run-length code")
            group = text[place] - 48
            value |= (group & 0x1F) << shift
            more, shift, place = bool(group & 0x20), shift + 5, place + 1
            if not more and group & 0x10:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts
