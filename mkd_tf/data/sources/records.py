"""What every format of one folder shares: its reader lists images and how each is labelled, the rest is here.

A reader of a format is one subclass of `RecordDataset` with `contents`; recognition is its
class method `recognise`.
"""

import abc
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.base import SPLITS
from mkd_tf.data.image_files import measure_image, scan_image
from mkd_tf.data.sources.examples import Example, ImageObject, Job, existing_folder, scanned, survey
from mkd_tf.data.sources.file_dataset import ALL, FileDataset
from mkd_tf.data.sources.finishing import finish_example
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import Notices, Problem
from mkd_tf.data.sources.paths import ImageFolder, nfc
from mkd_tf.data.sources.split_names import split_of_path

# An image of several splits belongs to the first of these: the one furthest from training.
_PRECEDENCE = ("test", "validation", "train")


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """What a format says of one image.

    Attributes:
      objects: as read.
      problems: of objects whose box cannot be read.
      size: (width, height) of the image as annotated, None if unknown.
    """

    objects: Sequence[ImageObject]
    problems: Sequence[Problem] = ()
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A labelled image.

    Attributes:
      path: of the image.
      file: that its labels are in, relative to the data set.
      index: of the image in that file, None if the file has one image.
      labels: reads them; it may raise `BadExample`.
    """

    path: Path
    file: str
    index: int | str | None
    labels: Callable[[], Labels]


def as_read(labels: Labels) -> Callable[[], Labels]:
    """Returns what `Record.labels` is for labels that are read already."""
    return lambda: labels


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a format says of a folder.

    Attributes:
      records: labelled images by split, or all of them under `ALL`.
      unlabelled: images without labels.
      class_names: in the order of their labels; None for those that occur, sorted.
      problems: of images that cannot be found.
    """

    records: Mapping[str, Sequence[Record]]
    unlabelled: Sequence[Path] = ()
    class_names: tuple[str, ...] | None = None
    problems: Sequence[Problem] = ()


class RecordDataset(FileDataset):
    """Images and labels of one format in a folder.

    Args:
      path: the folder, or the file in it that says what is in it; relative to the working directory.
      classes: the classes in order; by default those of the files.
      check_images: False reads the headers of images alone, see `CocoJson`.
      **options: of `FileDataset`. Where files or folders are named after splits, they give
        them; validation and test are taken out of train if they are missing.

    Raises:
      MkdError: as `FileDataset`; for a folder without files of the format.
    """

    kind = "object"
    """What the index of an object in messages counts."""
    are_fractions = False
    """Whether boxes are fractions of the image."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        check_images: bool = True,
        **options: Any,
    ):
        super().__init__(**{"test_from_train": True} | options)
        given = Path(path).expanduser()
        self.chosen = given.name if os.path.isfile(given) else ""
        where = f"{type(self).__name__.lower()} {given}"
        self.root = existing_folder(type(self).__name__.lower(), given.parent if self.chosen else given)
        self.name = self.root.resolve().name
        self.images = ImageFolder(self.root, self.collector)
        self.given = None if classes is None else _checked(classes)
        found = self.contents()
        self._scan = scan_image if check_images else measure_image

        records, problems = _once(found.records, self.root, self.collector)
        if not records.keys() & {"train", ALL}:
            got = f"only {', '.join(records)}" if records else "none"
            do = f"Add some.{self.unused()}"
            fail(where, expected="labelled images for train", got=got, do=do)
        splits = [split for split, several in records.items() for _ in several]
        known = self.given or found.class_names
        jobs = [self._job(record, known) for several in records.values() for record in several]
        jobs += [self._unlabelled_job(path) for path in found.unlabelled]
        examples, more = survey(jobs)
        self.report(where, [*found.problems, *problems, *more], "Objects count from 0, lines from 1.")
        labelled: dict[str, list[Example]] = {split: [] for split in records}
        for split, example in zip(splits, examples, strict=False):
            if example is not None:
                labelled[split].append(example)
        if not any(labelled.values()):
            fail(where, expected="usable labelled images", got="none", do="Add or repair some.")
        occurring = {item.name for several in labelled.values() for e in several for item in e.objects}
        if not occurring:
            fail(where, expected="labelled objects", got="none", do="Label some objects.")
        self.class_names = known or tuple(sorted(occurring))
        unlabelled = [example for example in examples[len(splits) :] if example is not None]
        self.assign_splits(where, labelled, unlabelled)

    @abc.abstractmethod
    def contents(self) -> Contents:
        """Reads what is in `self.root`, or in the file `self.chosen` of it."""

    def relative(self, path: Path) -> str:
        """Returns a file's path within the folder, as problems and ids give it."""
        return nfc(path.relative_to(self.root).as_posix())

    def by_folders(self, records: Sequence[Record]) -> dict[str, list[Record]]:
        """Returns records by the splits that the folders of their images are named after, else by `ALL`.

        Images outside of such folders take part in train.
        """
        found: dict[str, list[Record]] = {}
        for record in records:
            found.setdefault(split_of_path(self.relative(record.path)) or ALL, []).append(record)
        if found.keys() <= {ALL}:
            return found
        rest = found.pop(ALL, [])
        if rest:
            message = "images outside of folders of splits are taken for train"
            self.collector.add("suspect", "splits", message, self.relative(rest[0].path), count=len(rest))
            found["train"] = [*found.get("train", []), *rest]
        found.pop("unlabelled", None)
        return found

    def without_labels(self, records: Mapping[str, Sequence[Record]]) -> list[Path]:
        """Returns the images without record, except those in folders of validation and test."""
        labelled = {record.path for several in records.values() for record in several}
        rest = [path for path in self.images.images() if path not in labelled]
        held_back = [p for p in rest if split_of_path(self.relative(p)) in ("validation", "test")]
        for path in held_back:
            message = "images without labels in folders of validation and test are not used"
            self.collector.add("unused", "images", message, self.relative(path))
        return [path for path in rest if path not in set(held_back)]

    def _job(self, record: Record, classes: tuple[str, ...] | None) -> Job:
        def read() -> tuple[Example, list[Problem]]:
            labels = record.labels()
            return finish_example(
                self.relative(record.path),
                record.path,
                scanned(record.path, self.root, self._scan),
                labels.objects,
                file=record.file,
                notices=self.collector,
                kind=self.kind,
                size=labels.size,
                lost=labels.problems,
                classes=classes,
                are_fractions=self.are_fractions,
            )

        return Problem(record.file, record.index, "", record.path.name, "image"), read

    def _unlabelled_job(self, path: Path) -> Job:
        def read() -> tuple[Example, list[Problem]]:
            return Example(self.relative(path), path, scanned(path, self.root, self._scan)), []

        return Problem(self.relative(path), None, ""), read


def _checked(classes: Sequence[str]) -> tuple[str, ...]:
    given = [classes] if isinstance(classes, str) else list(classes)
    names = tuple(class_name(name, "classes") for name in given if isinstance(name, str))
    if not names or len(set(names)) < len(given):
        do = "Name each class once, as in classes=['cat', 'dog']."
        fail("classes", expected="distinct class names", got=repr(classes), do=do)
    return names


def _once(
    records: Mapping[str, Sequence[Record]], root: Path, notices: Notices
) -> tuple[dict[str, list[Record]], list[Problem]]:
    """Returns the records with each image once and in one split, and problems for those of several."""
    owners: dict[Path, str] = {}
    problems: list[Problem] = []
    found: dict[str, dict[Path, Record]] = {}
    for split in (*_PRECEDENCE, ALL):
        for record in records.get(split, ()):
            name = record.path.relative_to(root).as_posix()
            owner = owners.setdefault(record.path, split)
            own = found.setdefault(split, {})
            if owner != split:
                message = f"{name} is also in {owner}"
                problems.append(Problem(record.file, record.index, message, kind="image"))
            elif record.path in own:
                notices.add(
                    "merged", record.file, "images that come several times are one, with all labels", name
                )
                own[record.path] = _merged(own[record.path], record)
            else:
                own[record.path] = record
    return {split: list(found[split].values()) for split in (*SPLITS, ALL) if found.get(split)}, problems


def _merged(first: Record, second: Record) -> Record:
    def labels() -> Labels:
        one, other = first.labels(), second.labels()
        size = one.size if one.size is not None else other.size
        return Labels([*one.objects, *other.objects], [*one.problems, *other.problems], size)

    return dataclasses.replace(first, labels=labels)
