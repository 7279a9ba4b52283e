"""Examples from a user's own files: images, their objects, and the problems found in them.

Coordinates are continuous pixels of the image as it is displayed, that is after
EXIF orientation, as annotation tools show it; x 0 is the left edge.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mkd_tf.checks import MkdError, fail
from mkd_tf.data.base import AnnotatedSplit, Element, annotation
from mkd_tf.data.image_files import Scan, read_image

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax
_SLACK_PX = 2.0  # tools round and count from 1; a box further outside belongs to another image
_ROUNDING_PX = 1  # tools differ by one when they scale


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes:
      file: the file that is wrong, relative to the data set.
      object_index: the object (or image) of the file: its position from 0, or its id if
        the format has ids; None for the whole file.
      message: what is wrong.
      class_name: the object's class, if it has one; of an image, its file name.
      kind: what `object_index` counts: objects, annotations or images.
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


class BadExample(Exception):
    """The whole image cannot be used; the message says why.

    Args:
      file: the file that is wrong; empty for the one that the image's reader names.
    """

    def __init__(self, message: str, file: str = ""):
        super().__init__(message)
        self.file = file


@dataclasses.dataclass(frozen=True, slots=True)
class ImageObject:
    """One object of an image.

    Attributes:
      index: its position in its file from 0, or its id.
      name: its class.
      box: as in the file; `check_objects` clips it to the image.
      is_difficult: whether evaluation ignores it.
      is_crowd: whether the box holds a group that was not annotated one by one.
      area: of its segment in square pixels, None if only the box is known.
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
      name: the image's id, unique in its data set.
      path: its file.
      scan: its size, and its hash if it was decoded.
      objects: of its annotation, clipped to the image.
    """

    name: str
    path: Path
    scan: Scan
    objects: tuple[ImageObject, ...] = ()


# The problem to report if an image is bad, without its message; and the function that reads
# the image: it returns the example and the problems of its objects, or raises `BadExample`.
Job = tuple[Problem, Callable[[], tuple[Example, list[Problem]]]]


def check_objects(
    objects: Collection[ImageObject], file: str, width: int, height: int, kind: str = "object"
) -> tuple[list[ImageObject], list[Problem]]:
    """Separates usable objects, clipped to the image, from bad ones.

    Args:
      objects: as read.
      file: their file, relative to the data set.
      width, height: of the displayed image, pixels.
      kind: what an object's index counts.
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
    """Raises `BadExample` if an annotation was made for an image of another size.

    A tool may have written the size of the image before EXIF orientation. Its boxes are
    taken as displayed all the same; most boxes that are not would leave the image.

    Args:
      size: (width, height) as annotated, None if unknown.
      scan: of the image.
      said_by: the beginning of the message, as in "<size> says".
    """
    if size is None or (scan.is_turned and size == (scan.height, scan.width)):
        return
    if max(abs(size[0] - scan.width), abs(size[1] - scan.height)) > _ROUNDING_PX:
        says, has = f"{size[0]}x{size[1]}", f"{scan.width}x{scan.height}"
        raise BadExample(f"{said_by} {says}, the image has {has}")


def scanned(path: Path, root: Path, scan: Callable[[Path], Scan]) -> Scan:
    """Returns `scan(path)`.

    Raises:
      BadExample: if the image cannot be read; its `file` is `path` relative to `root`.
    """
    try:
        return scan(path)
    except MkdError as error:
        reason = str(error).removeprefix(f"image {path}: ")
        raise BadExample(reason, path.relative_to(root).as_posix()) from error


def survey(jobs: Sequence[Job]) -> tuple[list[Example | None], list[Problem]]:
    """Reads images, in threads and with progress: Pillow decodes without the interpreter's lock.

    Returns:
      The example of each job, None for a bad one; and all problems, in the order of the jobs.
    """

    def read(job: Job) -> tuple[Example | None, list[Problem]]:
        problem, read_example = job
        try:
            return read_example()
        except BadExample as error:
            if error.file:
                problem = Problem(error.file, None, "")
            return None, [dataclasses.replace(problem, message=str(error))]

    examples, problems = [], []
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for example, found in tqdm(pool.map(read, jobs), "Checking images", len(jobs), delay=3, unit="image"):
            examples.append(example)
            problems += found
    return examples, problems


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Returns a folder's files of these suffixes by name, without hidden ones.

    Hidden files are leftovers of file managers, as in `._a.xml`.
    """
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def existing_folder(where: str, folder: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder, `~` expanded; raises `MkdError` if it does not exist."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing there"
        fail(f"{where} {path}", expected="a folder", got=got, do="Correct the path.")
    return path


class ExampleImages(AnnotatedSplit):
    """A split of examples; an image is decoded when it is read.

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
