"""`voc_folder`: a user's own pictures with Pascal VOC annotations.

    folder/Annotations/a.xml   folder/JPEGImages/a.jpg   folder/ImageSets/Main/train.txt

or all pictures and annotations in one flat folder. An annotation belongs to the
picture of the same name; only where there is none does its <filename> count. An XML
without objects is a negative. Pictures without annotation, named in no list of
labelled ones, are the split `unlabelled`.
"""

import logging
import os
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.data import voc_splits
from mkd_tf.data.base import Dataset, Element, element
from mkd_tf.data.near_duplicates import group_alike, nearest_copies
from mkd_tf.data.pictures import HASH_BITS, read_picture
from mkd_tf.data.voc_annotation import Problem
from mkd_tf.data.voc_files import Example, VocFiles, examine

_LOGGER = logging.getLogger(__name__)
Lists = dict[str, list[str]]  # names of pictures by split
_SHOWN = 10  # problems listed in an error


class _Pictures(Sequence[Element]):
    """A split; a picture is decoded when it is asked for."""

    def __init__(self, examples: Sequence[Example], labels: dict[str, int], is_labelled: bool):
        self.ids = [example.name for example in examples]
        self._examples = examples
        self._labels = labels
        self._is_labelled = is_labelled

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        example = self._examples[index]
        objects = example.objects if self._is_labelled else ()
        extent = [example.scan.height, example.scan.width] * 2
        boxes = np.array([item.box for item in objects], "float64").reshape(-1, 4)[:, [1, 0, 3, 2]]
        return element(
            read_picture(example.path),
            example.name,
            boxes / extent,
            np.array([self._labels[item.name] for item in objects], "int32"),
            is_difficult=np.array([item.is_difficult for item in objects], bool),
            is_labelled=self._is_labelled,
        )


class VocFolder(Dataset):
    """Pictures and VOC annotations in a folder.

    Every picture is decoded once at construction, so that a damaged one is found
    before training and not in the middle of it.

    Args:
      path: the folder; relative to the working directory.
      classes: the classes in order, or a text file with one a line; by default all
        that occur, sorted.
      split_seed: seed of the split where the folder has no lists.
      fractions: shares of train, validation and test where the folder has no lists.
        Where only a list for validation is missing, it is taken out of train in this
        proportion.
      data_dir: accepted as by every data set; a folder is read where it is.
      on_bad_example: `fail` raises one error that lists what is wrong; `skip` leaves
        out bad objects, and pictures that are bad as a whole, with a warning.

    Attributes:
      problems: what is wrong in the folder, and was left out.

    Raises:
      MkdError: for bad examples, a folder without annotated pictures, illegal arguments.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] | str | None = None,
        split_seed: int = 0,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        del data_dir
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        shares = voc_splits.check_fractions(fractions)
        given = None if classes is None else _class_names(classes)
        files = VocFiles(Path(path).expanduser())
        self.name = files.root.resolve().name
        where = f"voc_folder {files.root}"

        lists, problems = voc_splits.read_lists(files.root, files.annotations, files.pictures)
        labelled, unlabelled = _roles(files, lists)
        examples, found = examine(files, labelled, unlabelled, given)
        self.problems: tuple[Problem, ...] = (*problems, *found)
        if self.problems:
            _report(where, self.problems, on_bad_example)
        if not examples:
            fail(where, expected="usable pictures", got="none", do="Add or repair some.")

        names = {item.name for name in labelled if name in examples for item in examples[name].objects}
        if not names and given is None:
            do = "Annotate some objects, or pass classes if there shall be none."
            fail(where, expected="objects in the annotations", got="none", do=do)
        self.class_names = tuple(sorted(names)) if given is None else given
        splits = _deal(examples, lists, set(unlabelled), shares, split_seed)
        if not splits.get("train"):
            fail(where, expected="usable pictures for train", got="none", do="Add or repair some.")
        labels = {name: label for label, name in enumerate(self.class_names)}
        self._splits = {
            split: _Pictures([examples[name] for name in splits[split]], labels, split != "unlabelled")
            for split in voc_splits.SPLITS
            if splits.get(split)
        }
        self.split_names = tuple(self._splits)

    def _split(self, name: str) -> Sequence[Element]:
        return self._splits[name]


def _class_names(classes: Sequence[str] | str) -> tuple[str, ...]:
    if isinstance(classes, str):
        file = Path(classes).expanduser()
        if not file.is_file():
            do = "Pass classes=['a', 'b'] or the path of such a file."
            fail("classes", expected="a text file with one class a line", got=repr(classes), do=do)
        classes = file.read_text("utf-8-sig").splitlines()
        classes = [line.strip() for line in classes if line.strip()]
    names = tuple(classes)
    if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
        do = "Name each class once."
        fail("classes", expected="distinct class names", got=repr(classes), do=do)
    return names


def _roles(files: VocFiles, lists: Lists) -> tuple[list[str], list[str]]:
    """Returns the names whose annotations count, and those of which only the picture counts."""
    listed = {name for split in ("train", "validation", "test") for name in lists.get(split, ())}
    without = set(lists.get("unlabelled", ()))
    labelled = listed if "train" in lists else files.annotations.keys() - without
    bare = files.pictures.keys() - files.annotations.keys() - listed
    return sorted(labelled & files.annotations.keys()), sorted(without & files.pictures.keys() | bare)


def _report(where: str, problems: Sequence[Problem], on_bad_example: str) -> None:
    if on_bad_example == "skip":
        lines = "\n  ".join(map(str, problems))
        _LOGGER.warning("%s: left out %d bad examples:\n  %s", where, len(problems), lines)
        return
    lines = "\n  ".join(map(str, problems[:_SHOWN]))
    if len(problems) > _SHOWN:
        lines += f"\n  and {len(problems) - _SHOWN} more"
    do = "Objects count from 0. Correct these, or leave them out with --on_bad_example=skip."
    raise MkdError(f"{where}: expected sound examples, got {len(problems)} bad ones:\n  {lines}\n{do}")


def _deal(
    examples: dict[str, Example],
    lists: Lists,
    unlabelled: Set[str],
    shares: Sequence[float],
    seed: int,
) -> Lists:
    """Returns the names of sound pictures by split, and warns of near-copies across splits."""
    splits = {s: [n for n in lists[s] if n in examples] for s in lists if s != "unlabelled"}
    labelled = [name for name in examples if name not in unlabelled]
    wanted = dict(zip(("train", "validation", "test"), shares, strict=True))
    if "train" not in splits:
        splits = voc_splits.seeded_split(_groups(examples, labelled), wanted, seed)
        _LOGGER.info("No lists in ImageSets/Main: split by seed %d into %s", seed, _sizes(splits))
    elif "validation" not in splits:
        del wanted["test"]
        splits |= voc_splits.seeded_split(_groups(examples, splits["train"]), wanted, seed)
        _LOGGER.info("No list for validation: taken out of train by seed %d: %s", seed, _sizes(splits))
    claimed = {examples[name].path for name in labelled}  # by the <filename> of an annotation
    splits["unlabelled"] = [n for n in examples if n in unlabelled and examples[n].path not in claimed]
    _warn_of_copies(examples, splits)
    return splits


def _hashes(examples: dict[str, Example], names: Sequence[str]) -> np.ndarray:
    return np.array([examples[name].scan.hash for name in names], bool).reshape(len(names), HASH_BITS)


def _groups(examples: dict[str, Example], names: Sequence[str]) -> list[list[str]]:
    return [[names[i] for i in group] for group in group_alike(_hashes(examples, names))]


def _sizes(splits: Lists) -> str:
    return ", ".join(f"{split} {len(names)}" for split, names in splits.items())


def _warn_of_copies(examples: dict[str, Example], splits: Lists) -> None:
    judged = [*splits.get("validation", ()), *splits.get("test", ())]
    learned = [*splits["train"], *splits["unlabelled"]]
    copies = nearest_copies(_hashes(examples, judged), _hashes(examples, learned))
    if copies:
        _LOGGER.warning(
            "Near-copies lie on both sides of the split: of validation and test %d resemble a training "
            "picture, as %s does %s. Results will look better than they are.",
            len(copies),
            judged[copies[0][0]],
            learned[copies[0][1]],
        )
