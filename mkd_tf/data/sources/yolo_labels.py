"""Reads the label file of one YOLO image: boxes, turned boxes and outlines, in fractions of the image.

0 0.5 0.5 0.25 0.1                    class, centre x and y, width, height
0 0.1 0.1 0.4 0.1 0.4 0.3             class, then the points of an outline, read as the box around it
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.masks import points_box
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.values import Box, number, record_id
from mkd_tf.data.text_files import read_text

_BOX_VALUES = 5
_LEAST_OUTLINE = 7  # a class and three points
_FARTHEST = 1.5  # no tool writes fractions beyond it; pixels are


def read_labels(
    path: Path,
    file: str,
    names: Mapping[int, str],
    has_keypoints: bool = False,
    notices: Notices | None = None,
) -> tuple[list[ImageObject], list[Problem]]:
    """Reads a label file.

    Args:
      path: of the file.
      file: its name in problems.
      names: the class of each number.
      has_keypoints: whether key points follow the box in a line.
      notices: hears of outlines.

    Returns:
      The objects by the numbers of their lines, from 1, with boxes in fractions of the image; and the
      problems of lines without a box.

    Raises:
      BadExample: if the file cannot be read.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise BadExample(f"cannot be read ({error.strerror})", file) from error
    except UnicodeDecodeError as error:
        raise BadExample("is no text in UTF-8", file) from error
    objects: list[ImageObject] = []
    problems: list[Problem] = []
    for position, line in enumerate(text.splitlines(), start=1):
        values = line.split()
        if not values:
            continue
        try:
            box = _box(values, has_keypoints)
        except BadExample as error:
            problems.append(Problem(file, position, str(error), None, "line"))
            continue
        if notices is not None and len(values) > _BOX_VALUES and not has_keypoints:
            message = "outlines and turned boxes are read as the box around them"
            notices.add("changed", "labels", message, f"{file} line {position}")
        index = record_id(values[0])
        name, fault = names.get(index, "") if isinstance(index, int) else "", ""
        if not name:
            known = f"{min(names)} to {max(names)}" if names else "none"
            fault = f"its class is {values[0]!r:.40}, expected one of {known}"
        objects.append(ImageObject(position, name, box, is_difficult=False, fault=fault))
    return objects, problems


def is_label(line: str) -> bool:
    """Returns whether a line reads like a label: a whole number, then fractions."""
    values = line.split()
    try:
        if len(values) < _BOX_VALUES or not isinstance(record_id(values[0]), int):
            return False
        return all(abs(number(value, "value")) <= _FARTHEST for value in values[1:])
    except BadExample:
        return False


def _box(texts: Sequence[str], has_keypoints: bool) -> Box:
    is_box = len(texts) == _BOX_VALUES or (has_keypoints and len(texts) > _BOX_VALUES)
    if not is_box and (len(texts) < _LEAST_OUTLINE or len(texts) % 2 == 0):
        expected = "5 (class, x, y, width, height), or a class and x and y of three points or more"
        count = "1 value (only spaces separate values)" if len(texts) == 1 else f"{len(texts)} values"
        raise BadExample(f"{count}, expected {expected}")
    values = [number(text, "a value") for text in texts[1 : _BOX_VALUES if is_box else None]]
    if max(map(abs, values)) > _FARTHEST:
        shown = " ".join(texts[1:_BOX_VALUES])
        raise BadExample(f"values {shown}, expected fractions of the image, 0..1")
    if not is_box:
        return points_box(values, "outline")
    x, y, width, height = values
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
