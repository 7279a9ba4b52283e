"""What data sets of a user's own files share: examples, their objects, and what is wrong with them.

Coordinates are continuous pixels of the image as it is displayed, that is after
EXIF orientation, as annotation tools show it; x 0 is the left edge.
"""

import concurrent.futures
import dataclasses
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from mkd_tf.checks import MkdError
from mkd_tf.data.base import AnnotatedSplit, Element, annotation
from mkd_tf.data.image_files import Scan, read_image

_LOGGER = logging.getLogger(__name__)
Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax
Job = TypeVar("Job")
Result = TypeVar("Result")
_SLACK_PX = 2.0  # tools round and count from 1; further outside the box belongs to another image
_ROUNDING_PX = 1  # tools differ by one when they scale
_SHOWN = 10  # problems listed in an error


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes:
      file: the file that is wrong, as the data set calls it.
      object_index: which object (or image) of the file: its position from 0, or
        its id where the format has ids; None if the whole file is meant.
      message: what is wrong.
      class_name: the object's class, where it has one; an image's file name.
      kind: what `object_index` numbers.
    """

    file: str
    object_index: int | str | None
    message: str
    class_name: str | None = None
    kind: str = "object"

    def __str__(self) -> str:
        if self.object_index is None:
            return f"{self.file}: {self.message}"
        name = f" ({self.class_name})" if self.class_name else ""
        return f"{self.file} {self.kind} {self.object_index}{name}: {self.message}"


class BadAnnotation(Exception):
    """The whole image cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageObject:
    """One object of an image.

    Attributes:
      index: its position in its file from 0, or its id.
      name: its class.
      box: as the file has it; within the image once checked.
      is_difficult: whether evaluation shall ignore it.
      is_crowd: whether the box holds a group that was not annotated one by one.
      area: of its segment in square pixels, None where only the box is known.
    """

    index: int | str
    name: str
    box: Box
    is_difficult: bool
    is_crowd: bool = False
    area: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A sound image.

    Attributes:
      name: unique among those it is assigned with; the image's id.
      path: its file.
      scan: its size, and its hash where it was decoded.
      objects: what its annotation names, clipped to the image.
    """

    name: str
    path: Path
    scan: Scan
    objects: tuple[ImageObject, ...] = ()


def check_objects(
    objects: Collection[ImageObject], file: str, width: int, height: int, kind: str = "object"
) -> tuple[list[ImageObject], list[Problem]]:
    """Separates usable objects, clipped to the image, from bad ones.

    Args:
      objects: as read.
      file: how problems call their file.
      width: of the displayed image, pixels.
      height: likewise.
      kind: what an object's index numbers.
    """
    good, problems = [], []
    seen: dict[tuple[str, Box], int | str] = {}
    for item in objects:
        fault = _box_fault(item.box, width, height)
        first = seen.setdefault((item.name, item.box), item.index)
        if not fault and first != item.index:
            fault = f"repeats {kind} {first}"
        if fault:
            problems.append(Problem(file, item.index, fault, item.name, kind))
            continue
        xmin, ymin, xmax, ymax = item.box
        inside = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height))
        good.append(dataclasses.replace(item, box=inside))
    return good, problems


def check_size(size: tuple[int, int] | None, scan: Scan, said_by: str) -> None:
    """Raises `BadAnnotation` if an annotation was made for an image of another size.

    A tool may have written the size before the EXIF orientation; its boxes are taken
    as displayed all the same, and those that are not mostly leave the image.

    Args:
      size: (width, height) as annotated, None where that is unknown.
      scan: of the image.
      said_by: begins the message, as in "<size> says".
    """
    if size is None or (scan.is_turned and size == (scan.height, scan.width)):
        return
    if max(abs(size[0] - scan.width), abs(size[1] - scan.height)) > _ROUNDING_PX:
        says, has = f"{size[0]}x{size[1]}", f"{scan.width}x{scan.height}"
        raise BadAnnotation(f"{said_by} {says}, the image has {has}")


def survey(examine: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yields `examine` of every job in order, in threads and with progress.

    Pillow decodes without holding the interpreter's lock.
    """
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from tqdm(pool.map(examine, jobs), "Checking images", len(jobs), delay=3, unit="image")


def report(where: str, problems: Sequence[Problem], on_bad_example: str, how_counted: str) -> None:
    """Warns of problems, or raises one error that lists them.

    Args:
      where: the data set.
      problems: nothing happens where there are none.
      on_bad_example: `skip` or `fail`.
      how_counted: a sentence on what the numbers in them are.

    Raises:
      MkdError: if there are problems that shall not be skipped.
    """
    if not problems:
        return
    if on_bad_example == "skip":
        lines = "\n  ".join(map(str, problems))
        _LOGGER.warning("%s: left out %d bad examples:\n  %s", where, len(problems), lines)
        return
    lines = "\n  ".join(map(str, problems[:_SHOWN]))
    if len(problems) > _SHOWN:
        lines += f"\n  and {len(problems) - _SHOWN} more"
    do = f"{how_counted} Correct these, or leave them out with --on_bad_example=skip."
    raise MkdError(f"{where}: expected sound examples, got {len(problems)} bad ones:\n  {lines}\n{do}")


class ExampleImages(AnnotatedSplit):
    """A split of examples; an image is decoded when it is asked for.

    Args:
      examples: in their order.
      labels: label of each class.
      is_labelled: False hides the objects.
    """

    def __init__(self, examples: Sequence[Example], labels: dict[str, int], is_labelled: bool):
        self.ids = [example.name for example in examples]
        self._examples = examples
        self._labels = labels
        self._is_labelled = is_labelled

    def __len__(self) -> int:
        return len(self._examples)

    def image(self, index: int) -> np.ndarray:
        return read_image(self._examples[index].path)

    def annotation(self, index: int) -> Element:
        example = self._examples[index]
        objects = example.objects if self._is_labelled else ()
        height_width = example.scan.height, example.scan.width
        boxes = np.array([item.box for item in objects], "float64").reshape(-1, 4)[:, [1, 0, 3, 2]]
        return annotation(
            height_width,
            example.name,
            boxes / [*height_width, *height_width],
            np.array([self._labels[item.name] for item in objects], "int32"),
            is_difficult=np.array([item.is_difficult for item in objects], bool),
            is_crowd=np.array([item.is_crowd for item in objects], bool),
            area=np.array([item.area for item in objects], "float32"),  # None becomes NaN
            is_labelled=self._is_labelled,
        )


def _box_fault(box: Box, width: int, height: int) -> str | None:
    xmin, ymin, xmax, ymax = box
    shown = f"[{', '.join(f'{v:g}' for v in box)}]"
    if xmin > xmax or ymin > ymax:
        return f"inverted box {shown}"
    if xmin == xmax or ymin == ymax:
        return f"zero-area box {shown}"
    if xmin >= width or ymin >= height or xmax <= 0 or ymax <= 0:
        return f"box {shown} lies outside the {width}x{height} image"
    beyond = max(-xmin, -ymin, xmax - width, ymax - height)
    if beyond > _SLACK_PX:
        return f"box {shown} reaches {beyond:g} px beyond the {width}x{height} image"
    return None
