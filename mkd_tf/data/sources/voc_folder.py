"""`voc_folder`: a user's own images with Pascal VOC annotations.

    folder/Annotations/a.xml   folder/JPEGImages/a.jpg   folder/ImageSets/Main/train.txt
    folder/annotations/x/a.xml folder/images/x/a.jpg

or all images and annotations in one folder; each with sub-folders. An annotation belongs to
the image of the same path; its <filename> is used only if there is no such image. An XML
without objects is an image without objects (a negative). Images without an annotation that
no list of labelled images names are the split `unlabelled`. Without lists, sub-folders called
train, val and test give the splits.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.sources.file_dataset import ALL, FileDataset
from mkd_tf.data.sources.layouts import voc_layouts
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.split_names import split_of_path
from mkd_tf.data.sources.voc_files import VocFiles, examine
from mkd_tf.data.sources.voc_lists import read_lists
from mkd_tf.data.text_files import read_text
from mkd_tf.data.tree import Found, Tree

Lists = dict[str, list[str]]  # names of images by split


class VocFolder(FileDataset):
    """Images and VOC annotations in a folder.

    Args:
      path: the folder; relative to the working directory.
      classes: the classes in order, or a text file with one a line; by default all
        that occur, sorted.
      **options: of `FileDataset`. Lists in the folder give the splits.

    Raises:
      MkdError: as `FileDataset`.
    """

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        return voc_layouts(tree)

    def __init__(
        self, path: str | os.PathLike[str], *, classes: Sequence[str] | str | None = None, **options: Any
    ):
        super().__init__(**options)
        known = None if classes is None else _class_names(classes, self.collector)
        files = VocFiles(path, self.collector)
        self.name = files.root.resolve().name
        where = f"voc_folder {files.root}"

        lists, problems = read_lists(files)
        lists = lists or _by_folder(files)
        labelled, unlabelled = _names_by_use(files, lists)
        examples, more = examine(files, labelled, unlabelled, known)
        self.report(where, problems + more, "Objects count from 0.")
        if not examples:
            fail(where, expected="usable images", got="none", do="Add or repair some.")

        names = {item.name for name in labelled if name in examples for item in examples[name].objects}
        if not names and known is None:
            do = "Annotate some objects, or pass classes if there shall be none."
            fail(where, expected="objects in the annotations", got="none", do=do)
        self.class_names = tuple(sorted(names)) if known is None else known
        given = {s: [examples[n] for n in lists[s] if n in examples] for s in lists if s != "unlabelled"}
        if "train" not in given:
            given = {ALL: [examples[n] for n in labelled if n in examples]}
        self.assign_splits(where, given, [examples[n] for n in unlabelled if n in examples])


def _class_names(classes: Sequence[str] | str, notices: Notices) -> tuple[str, ...]:
    if isinstance(classes, str):
        file = Path(classes).expanduser()
        if not os.path.isfile(file):
            do = "Pass classes=['a', 'b'] or the path of such a file."
            fail("classes", expected="a text file with one class a line", got=repr(classes), do=do)
        classes = read_text(file).splitlines()
        classes = [line.strip() for line in classes if line.strip()]
    names: tuple[str, ...] = ()
    if all(isinstance(name, str) for name in classes):
        with contextlib.suppress(BadExample):
            names = tuple(class_name(name, "classes", notices) for name in classes)
    if not names or len(set(names)) < len(names):
        do = "Name each class once."
        fail("classes", expected="distinct class names", got=repr(classes), do=do)
    return names


def _by_folder(files: VocFiles) -> Lists:
    """Returns the names by the split that their sub-folder is named after; empty unless all are."""
    lists: Lists = {}
    for name in files.annotations:
        lists.setdefault(split_of_path(f"{name}.xml") or "", []).append(name)
    return lists if "train" in lists and "" not in lists else {}


def _names_by_use(files: VocFiles, lists: Lists) -> tuple[list[str], list[str]]:
    """Returns the names whose annotation is used, and those of which only the image is used."""
    listed = {name for split in ("train", "validation", "test") for name in lists.get(split, ())}
    without = set(lists.get("unlabelled", ()))
    labelled = listed if "train" in lists else files.annotations.keys() - without
    unlisted = files.images.keys() - files.annotations.keys() - listed
    return sorted(labelled & files.annotations.keys()), sorted(without & files.images.keys() | unlisted)
