"""Reads COCO results, row by row: a list of detections, of any length, in bounded memory.

    [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.93}, ...]

Reference: https://cocodataset.org/#format-results. Boxes are pixels of the original image.
A file is read in pieces and a row is parsed at a time; 28 bytes of each are kept.
"""

import array
import collections
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mkd_tf.checks import LARGEST_NUMBER, fail
from mkd_tf.file_limits import check_text

Key = int | str
_PIECE = 2**20
_LONGEST_ROW = 2**26
_SHOWN = 5
_EXPECTED = 'COCO results: a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Detections as columns, R of them.

    Attributes:
      keys: the ids of images as the file has them, each once.
      image: `[R]` int32, an index into `keys`.
      category: `[R]` int64, ids.
      boxes: `[R, 4]` float32 (x, y, width, height) in pixels.
      scores: `[R]` float32.
      faults: rows that are left out, counted by what is wrong with them.
      examples: the first of them, as text.
    """

    keys: tuple[Key, ...]
    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    faults: dict[str, int]
    examples: tuple[str, ...]


class RowReader:
    """Collects rows; a row with a fault is counted and left out.

    Attributes:
      count: rows seen so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._places: dict[Key, int] = {}
        self._image, self._category = array.array("i"), array.array("q")
        self._boxes, self._scores = array.array("f"), array.array("f")
        self._faults: collections.Counter[str] = collections.Counter()
        self._examples: list[str] = []

    def add(self, row: Any) -> None:
        """Takes a row as it is parsed."""
        self.count += 1
        fault = row_fault(row)
        if fault:
            self._faults[fault] += 1
            if len(self._examples) < _SHOWN:
                self._examples.append(f"row {self.count - 1}: {fault}: {row!r:.120}")
            return
        key = row["image_id"]
        self._image.append(self._places.setdefault(key, len(self._places)))
        self._category.append(row["category_id"])
        self._boxes.extend(row["bbox"])
        self._scores.append(row["score"])

    def rows(self) -> Rows:
        """Returns what was taken, without copies."""
        boxes = np.frombuffer(self._boxes, "float32") if self._boxes else np.zeros(0, "float32")
        return Rows(
            tuple(self._places),
            np.asarray(self._image, "int32"),
            np.asarray(self._category, "int64"),
            boxes.reshape(-1, 4),
            np.asarray(self._scores, "float32"),
            dict(self._faults),
            tuple(self._examples),
        )


def row_fault(row: Any) -> str:
    """Returns what is wrong with a row, empty for a sound one."""
    if type(row) is not dict:
        return "it is no object"
    score: Any = row.get("score")
    box: Any = row.get("bbox")
    key = row.get("image_id")
    if "score" not in row:
        return "it has no score"
    if not _is_number(score):
        return "its score is not a finite number"
    if not 0 <= score <= 1:
        return "its score is not within 0..1"
    if type(key) is not int and type(key) is not str:
        return "its image_id is neither an integer nor text"
    if type(row.get("category_id")) is not int or not _is_number(row["category_id"]):
        return "its category_id is not an integer"
    if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)):
        return "its bbox is not four finite numbers"
    if box[2] < 0 or box[3] < 0:
        return "its bbox has a negative width or height"
    return ""


def _is_number(value: Any) -> bool:
    # False for NaN, infinity and integers that no float holds.
    return (type(value) is float or type(value) is int) and -LARGEST_NUMBER <= value <= LARGEST_NUMBER


def read_rows(path: Path, where: str) -> Rows:
    """Reads the rows of a results file.

    Raises:
      MkdError: if the file is missing, no JSON, truncated, or no list of rows.
    """
    reader = RowReader()
    try:
        with open(check_text(path), encoding="utf-8-sig") as stream:
            for row in _items(stream, where):
                reader.add(row)
    except OSError as error:
        fail(where, expected="a file", got=error.strerror or str(error), do="Correct the path.")
    except UnicodeDecodeError as error:
        fail(where, expected="JSON in UTF-8", got=str(error), do="Write the file again.")
    return reader.rows()


def _items(stream: TextIO, where: str) -> Iterator[Any]:
    """Yields the items of the JSON list in a stream; one piece of text is in memory at a time."""
    decoder = json.JSONDecoder()
    text, place, count = stream.read(_PIECE), 0, 0
    place = _skip(text, 0, " \t\r\n")
    if text[place : place + 1] != "[":
        got = f"a file that begins with {text[place : place + 20]!r}" if text.strip() else "an empty file"
        fail(where, expected=_EXPECTED, got=got, do="Give a results file.")
    place += 1
    while True:
        place = _skip(text, place, " \t\r\n,")
        if text[place : place + 1] == "]":
            return
        try:
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:  # A number of 5,000 digits is a ValueError.
            more = stream.read(_PIECE)
            if not more or len(text) - place > _LONGEST_ROW:
                kind = "damaged" if more or text[place:].strip().endswith("]") else "truncated"
                got = f"a {kind} file: {count} whole rows, then {text[place : place + 60]!r} ({error})"
                fail(where, expected="whole JSON", got=got, do="Write or copy the file again.")
            # Twice the text at most: a long row is not parsed again for every piece.
            text, place = text[place:] + more + stream.read(len(text) - place), 0
            continue
        # A number at the end of the text may go on in the next piece; rows are objects.
        count += 1
        yield item


def _skip(text: str, place: int, blanks: str) -> int:
    while place < len(text) and text[place] in blanks:
        place += 1
    return place
