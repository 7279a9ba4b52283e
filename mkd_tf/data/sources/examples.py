"""Examples from a user's own files: images, their objects, and the problems found in them.

Coordinates are continuous pixels of the image as it is displayed, that is after
EXIF orientation, as annotation tools show it; x 0 is the left edge.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mkd_tf.checks import MkdError, fail
from mkd_tf.data.base import AnnotatedSplit, Element, annotation
from mkd_tf.data.image_files import Scan, read_image
from mkd_tf.data.sources.notices import BadExample, Problem
from mkd_tf.data.sources.values import Box


@dataclasses.dataclass(frozen=True, slots=True)
class ImageObject:
    """One object of an image.

    Attributes:
      index: its position in its file from 0, or its id.
      name: its class; empty if the file gives none that can be read.
      box: as in the file; `finishing.finish_example` brings it to pixels of the displayed image.
      is_difficult: whether evaluation ignores it.
      is_crowd: whether the box holds a group that was not annotated one by one.
      area: of its segment in square pixels, None if only the box is known.
      fault: why it cannot be used although its box can be read; empty if it can.
    """

    index: int | str
    name: str
    box: Box
    is_difficult: bool
    is_crowd: bool = False
    area: float | None = None
    fault: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A sound image.

    Attributes:
      name: the image's id, unique in its data set.
      path: its file.
      scan: its size, and its hash if it was decoded.
      objects: of its annotation, clipped to the image.
      unknown: areas of unknown content, neither object nor background, in pixels of the image.
    """

    name: str
    path: Path
    scan: Scan
    objects: tuple[ImageObject, ...] = ()
    unknown: tuple[Box, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether all objects outside of smaller unknown areas are named."""
        return (0.0, 0.0, float(self.scan.width), float(self.scan.height)) not in self.unknown


# The problem to report if an image is bad, without its message; and the function that reads
# the image: it returns the example and the problems of its objects, or raises `BadExample`.
Job = tuple[Problem, Callable[[], tuple[Example, list[Problem]]]]


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


def existing_folder(where: str, folder: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder, `~` expanded; raises `MkdError` if it does not exist."""
    path = Path(folder).expanduser()
    if not os.path.isdir(path):
        got = "a file" if os.path.exists(path) else "nothing there"
        fail(f"{where} {path}", expected="a folder", got=got, do="Correct the path.")
    return path


class ExampleImages(AnnotatedSplit):
    """A split of examples; an image is decoded when it is read.

    Args:
      examples: in their order.
      labels: label of each class.
      is_labelled: False hides the objects.
      depth: bits that the data set's images of 16 bits a pixel use; None if it has none.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        labels: dict[str, int],
        is_labelled: bool,
        depth: int | None = None,
    ):
        self.ids = [example.name for example in examples]
        self._examples = examples
        self._labels = labels
        self._is_labelled = is_labelled
        self._depth = depth

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, index: int) -> Example:
        """Returns the example behind an element: its file, its size and its hash."""
        return self._examples[index]

    def image(self, index: int) -> np.ndarray:
        return read_image(self._examples[index].path, depth=self._depth)

    def annotation(self, index: int) -> Element:
        example = self._examples[index]
        objects = example.objects if self._is_labelled else ()
        height_width = example.scan.height, example.scan.width
        size = [*height_width, *height_width]
        boxes = np.array([item.box for item in objects], "float64").reshape(-1, 4)[:, [1, 0, 3, 2]]
        unknown = np.array(example.unknown if self._is_labelled else (), "float64").reshape(-1, 4)
        return annotation(
            height_width,
            example.name,
            boxes / size,
            np.array([self._labels[item.name] for item in objects], "int32"),
            is_difficult=np.array([item.is_difficult for item in objects], bool),
            is_crowd=np.array([item.is_crowd for item in objects], bool),
            area=np.array([item.area for item in objects], "float32"),  # None becomes NaN
            unknown=unknown[:, [1, 0, 3, 2]] / size,
            is_labelled=self._is_labelled,
        )
