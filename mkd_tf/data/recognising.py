"""From a plain path to a data set: which of the known formats lies in a folder.

Each entry of the table of data sets looks for its own files (`Dataset.recognise`); one find is
read, several are listed with the flag that chooses each, none lists what was looked for.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.data.base import Dataset
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.yolo_config import CLASS_FILES
from mkd_tf.data.text_files import decoded
from mkd_tf.data.tree import Found, Tree, existing_path, head, lacking_keys, xml_root

_LOOKED_FOR = (
    "Pascal VOC (*.xml with <annotation>), COCO (*.json with images, annotations and categories), "
    "YOLO (data.yaml, obj.data, classes.txt or *.txt with labels), CVAT (*.xml with <annotations>), "
    "Label Studio (*.json with a list of tasks), labelme (*.json with shapes) or tfds (dataset_info.json)"
)
_SHOWN = 5
_SHOWN_NEAR = 3
_START = 60  # characters of a file that are shown
_UNREAD = {
    ".csv": "is a table, which is not read",
    ".tfrecord": "is not in a folder that tfds prepared",
    ".record": "is not in a folder that tfds prepared",
    ".vott": "is a project of VoTT: export it as Pascal VOC",
}


def is_path(text: str, names: Iterable[str]) -> bool:
    """Returns whether a data set is given by a path instead of one of the `names` or a call."""
    if text in names:
        return False
    return os.path.exists(Path(text).expanduser()) or ("(" not in text and bool(set(text) & set("/\\~.")))


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
        more = len(found) - _SHOWN
        flags += f"\n  and {more} more" if more > 0 else ""
        got = f"{len(found)} in it"
        fail(where, expected="one data set", got=got, do=f"Choose one with --dataset, as in\n{flags}")
    images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in tree.files)
    got = f"none of these among {_counted(len(tree.files), 'file')}"
    got = f"{_counted(images, 'image')} and none of these" if images else got
    nearly = list(itertools.islice(_near_misses(tree), _SHOWN_NEAR))
    got += f" ({'; '.join(nearly)})" if nearly else ""
    fail(where, expected=_LOOKED_FOR, got=got, do="Give the folder that holds both images and labels.")


def _near_misses(tree: Tree) -> Iterator[str]:
    """Yields for each kind of file what the first one is, where people expect that it is read."""
    seen: set[str] = set()
    for name in tree.files:
        suffix = PurePosixPath(name).suffix.lower()
        base = PurePosixPath(name).name.lower()
        if suffix in seen or suffix not in (".json", ".xml", ".txt", *_UNREAD):
            continue
        if base in CLASS_FILES or base.startswith("readme"):
            continue
        path = tree.root / name
        start = " ".join(decoded(head(path), "replace")[:_START].split())
        if suffix in _UNREAD:
            words = _UNREAD[suffix]
        elif not start:
            words = "is empty"
        elif suffix == ".json" and (keys := lacking_keys(path)):
            words = f"has no {' and no '.join(keys)}"
        elif suffix == ".xml" and (root := xml_root(path)):
            words = f"begins with <{root}>"
        else:
            words = f"begins with {start!r}"
        seen.add(suffix)
        yield f"{name} {words}"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def summary(found: Found, dataset: Dataset) -> str:
    """Returns one line: what was recognised, its classes, its splits, and what says so."""
    splits = " / ".join(f"{split} {len(dataset.split(split))}" for split in dataset.split_names)
    count = len(dataset.class_names)
    classes = f"{count} {'class' if count == 1 else 'classes'}"
    return f"dataset: {found.format}, {classes}, {splits}, from {found.source}"
