"""From a plain path to a data set: which of the known formats lies in a folder.

Each entry of the table of data sets looks for its own files (`Dataset.recognise`); one find is
read, several are listed with the flag that chooses each, none lists what was looked for.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from mkd_tf.checks import fail
from mkd_tf.data.base import Dataset
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.tree import Found, Tree, existing_path

_LOGGER = logging.getLogger(__name__)
_LOOKED_FOR = (
    "Pascal VOC (*.xml with <annotation>), COCO (*.json with images, annotations and categories), "
    "YOLO (data.yaml, obj.data, classes.txt or *.txt with labels), CVAT (*.xml with <annotations>), "
    "Label Studio (*.json with a list of tasks), labelme (*.json with shapes) or tfds (dataset_info.json)"
)
_SHOWN = 5


def is_path(text: str, names: Iterable[str]) -> bool:
    """Returns whether a data set is given by a path instead of one of the `names` or a call."""
    if text in names:
        return False
    return Path(text).expanduser().exists() or ("(" not in text and bool(set(text) & set("/\\~.")))


def recognise(text: str, builders: Iterable[Callable[..., Dataset]]) -> Found:
    """Returns the data set in the folder or file `text`.

    Raises:
      MkdError: if there is none, or more than one.
    """
    tree = Tree(existing_path(text))
    classes = [b for b in builders if isinstance(b, type) and issubclass(b, Dataset)]
    found = [each for builder in classes for each in builder.recognise(tree)]
    where = f"data set {text}"
    if len(found) == 1:
        return found[0]
    if found:
        flags = "\n".join(
            f'  --dataset="{each.spec}"  # {each.format}, {each.source}' for each in found[:_SHOWN]
        )
        got = f"{len(found)} in it"
        fail(where, expected="one data set", got=got, do=f"Choose one with --dataset, as in\n{flags}")
    images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in tree.files)
    got = f"{images} images and none of these" if images else f"none of these among {len(tree.files)} files"
    fail(where, expected=_LOOKED_FOR, got=got, do="Give the folder that holds both images and labels.")


def summary(found: Found, dataset: Dataset) -> str:
    """Returns one line: what was recognised, its classes, its splits, and what says so."""
    splits = " / ".join(f"{split} {len(dataset.split(split))}" for split in dataset.split_names)
    count = len(dataset.class_names)
    classes = f"{count} {'class' if count == 1 else 'classes'}"
    return f"dataset: {found.format}, {classes}, {splits}, from {found.source}"
