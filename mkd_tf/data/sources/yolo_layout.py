"""Where the files of a YOLO data set lie: its configuration, its labels, and the label file of an image."""

import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from mkd_tf.data.sources.notices import Notices
from mkd_tf.data.sources.paths import ImageFolder, nfc
from mkd_tf.data.sources.yolo_config import CLASS_FILES
from mkd_tf.data.sources.yolo_labels import is_label
from mkd_tf.data.text_files import decoded, read_text
from mkd_tf.data.tree import Tree, head

CONFIGS = (".yaml", ".yml", ".data", ".names")
_FULL = (".data", ".yaml", ".yml")  # these say the splits too
_LABEL_FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS", "JPEGImages": "labels"}
_SAMPLE = 3  # text files that are opened in each folder


def configurations(tree: Tree) -> list[str]:
    """Returns the files with the classes: those that also say the splits, else lists of classes."""
    found = class_files(tree)
    several = [name for name in found if name.lower().endswith(_FULL)] or found
    depth = min((name.count("/") for name in several), default=0)
    return [name for name in several if name.count("/") == depth]


def class_files(tree: Tree) -> list[str]:
    """Returns every file that may name classes."""
    found = tree.named(CONFIGS, CLASS_FILES)
    return [name for name in found if not name.lower().endswith(_FULL) or _has_names(tree.root / name)]


def label_folders(tree: Tree) -> set[str]:
    """Returns the folders in which one of the first text files holds labels."""
    counts: Counter[str] = Counter()
    found: set[str] = set()
    for name in tree.files:
        folder = os.path.dirname(name)
        if is_label_name(name) and folder not in found and counts[folder] < _SAMPLE:
            counts[folder] += 1
            if reads_as_labels(tree.root / name):
                found.add(folder)
    return found


def is_label_name(name: str) -> bool:
    """Returns whether a file may hold labels by its name."""
    return name.lower().endswith(".txt") and os.path.basename(name).lower() not in CLASS_FILES


def reads_as_labels(path: Path) -> bool:
    """Returns whether the first line of a file is a label."""
    return is_label(decoded(head(path), "replace").partition("\n")[0])


def _has_names(path: Path) -> bool:
    try:
        text = read_text(path, errors="replace")
    except OSError:
        return False
    return re.search(r"^[\"']?names[\"']?\s*[:=]", text, re.MULTILINE) is not None


class LabelFiles:
    """The label files of a folder, found from their images whatever the form and case of names.

    Args:
      tree: of the folder.
      images: those of the folder.
      notices: hears of files that several images share, and of those in other folders.

    Attributes:
      used: the names of the files that were found, relative to the folder.
    """

    def __init__(self, tree: Tree, images: ImageFolder, notices: Notices):
        self._root, self._images, self._notices = tree.root, images, notices
        self._files: dict[str, str] = {}
        self._elsewhere: dict[str, list[str]] = {}
        folders = label_folders(tree)
        for name in filter(is_label_name, tree.files):
            self._files[_key(PurePosixPath(name))] = name
            if os.path.dirname(name) in folders:
                self._elsewhere.setdefault(nfc(PurePosixPath(name).stem), []).append(name)
        self._stems: Counter[str] | None = None
        self.used: dict[str, Path] = {}

    def find(self, image: Path) -> Path | None:
        """Returns the label file of an image; None if there is none."""
        name = self._beside(PurePosixPath(image.relative_to(self._root).as_posix())) or self._of_stem(image)
        if name is None:
            return None
        if self.used.setdefault(name, image) != image:
            message = "label files belong to several images, which all have their objects"
            self._notices.add("suspect", "labels", message, name)
        return self._root / name

    def unused(self, files: Collection[str]) -> list[str]:
        """Returns those of `files` that hold labels and belong to no image."""
        rest = [name for name in files if is_label_name(name) and name not in self.used]
        return [name for name in rest if reads_as_labels(self._root / name)]

    def _beside(self, image: PurePosixPath) -> str | None:
        parts = image.parts
        for place in range(len(parts) - 2, -1, -1):
            if folder := _LABEL_FOLDERS.get(parts[place]):
                swapped = PurePosixPath(*parts[:place], folder, *parts[place + 1 :])
                if found := self._files.get(_key(swapped)):
                    return found
        places = (image, PurePosixPath("labels", image), PurePosixPath("labels", image.name))
        return next((found for place in places if (found := self._files.get(_key(place)))), None)

    def _of_stem(self, image: Path) -> str | None:
        """Returns the one label file of that name in a folder of another name, for the one such image."""
        stem = nfc(image.stem)
        names = self._elsewhere.get(stem, [])
        if len(names) != 1:
            return None
        if self._stems is None:
            self._stems = Counter(nfc(path.stem) for path in self._images.images())
        if self._stems[stem] != 1:
            return None
        message = "label files are found in a folder that is not called labels"
        self._notices.add("changed", f"{os.path.dirname(names[0])}/", message, os.path.basename(names[0]))
        return names[0]


def _key(path: PurePosixPath) -> str:
    return nfc(path.with_suffix(".txt").as_posix())
