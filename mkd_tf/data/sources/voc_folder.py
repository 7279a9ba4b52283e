"""`voc_folder`: a user's own images with Pascal VOC annotations.

    folder/Annotations/a.xml   folder/JPEGImages/a.jpg   folder/ImageSets/Main/train.txt

or all images and annotations in one flat folder. An annotation belongs to the
image of the same name; only where there is none does its <filename> count. An XML
without objects is a negative. Images without annotation, named in no list of
labelled ones, are the split `unlabelled`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mkd_tf.checks import check_one_of, fail
from mkd_tf.data.base import Dataset, Element
from mkd_tf.data.sources import voc_splits
from mkd_tf.data.sources.assign_splits import ALL, assign_splits
from mkd_tf.data.sources.examples import ExampleImages, Problem, report
from mkd_tf.data.sources.voc_files import VocFiles, examine

Lists = dict[str, list[str]]  # names of images by split


class VocFolder(Dataset):
    """Images and VOC annotations in a folder.

    Every image is decoded once at construction, so that a damaged one is found
    before training and not in the middle of it.

    Args:
      path: the folder; relative to the working directory.
      classes: the classes in order, or a text file with one a line; by default all
        that occur, sorted.
      split_seed: seed of the split where the folder has no lists.
      fractions: shares of train, validation and test where the folder has no lists.
        Where only a list for validation is missing, it is taken out of train in this
        proportion.
      drop_copies: leaves out unlabelled images that resemble one of validation or test.
      data_dir: accepted as by every data set; a folder is read where it is.
      on_bad_example: `fail` raises one error that lists what is wrong; `skip` leaves
        out bad objects, and images that are bad as a whole, with a warning.

    Attributes:
      problems: what is wrong in the folder, and was left out.

    Raises:
      MkdError: for bad examples, a folder without annotated images, illegal arguments.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] | str | None = None,
        split_seed: int = 0,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        drop_copies: bool = True,
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        del data_dir
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        shares = voc_splits.check_fractions(fractions)
        known = None if classes is None else _class_names(classes)
        files = VocFiles(Path(path).expanduser())
        self.name = files.root.resolve().name
        where = f"voc_folder {files.root}"

        lists, problems = voc_splits.read_lists(files.root, files.annotations, files.images)
        labelled, unlabelled = _roles(files, lists)
        examples, found = examine(files, labelled, unlabelled, known)
        self.problems: tuple[Problem, ...] = (*problems, *found)
        report(where, self.problems, on_bad_example, "Objects count from 0.")
        if not examples:
            fail(where, expected="usable images", got="none", do="Add or repair some.")

        names = {item.name for name in labelled if name in examples for item in examples[name].objects}
        if not names and known is None:
            do = "Annotate some objects, or pass classes if there shall be none."
            fail(where, expected="objects in the annotations", got="none", do=do)
        self.class_names = tuple(sorted(names)) if known is None else known
        bare = set(unlabelled)
        given = {s: [examples[n] for n in lists[s] if n in examples] for s in lists if s != "unlabelled"}
        if "train" not in given:
            given = {ALL: [examples[n] for n in examples if n not in bare]}
        without_labels = [examples[n] for n in examples if n in bare]
        splits = assign_splits(given, without_labels, shares, split_seed, drop_copies)
        if not splits.get("train"):
            fail(where, expected="usable images for train", got="none", do="Add or repair some.")
        labels = {name: label for label, name in enumerate(self.class_names)}
        self._splits = {
            split: ExampleImages(splits[split], labels, split != "unlabelled")
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
    """Returns the names whose annotations count, and those of which only the image counts."""
    listed = {name for split in ("train", "validation", "test") for name in lists.get(split, ())}
    without = set(lists.get("unlabelled", ()))
    labelled = listed if "train" in lists else files.annotations.keys() - without
    bare = files.images.keys() - files.annotations.keys() - listed
    return sorted(labelled & files.annotations.keys()), sorted(without & files.images.keys() | bare)
