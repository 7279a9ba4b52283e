"""`yolo`: images with YOLO's text files.

    data.yaml   images/train/a.jpg   labels/train/a.txt          splits of Ultralytics
    data.yaml   train/images/a.jpg   train/labels/a.txt          of Roboflow
    obj.data    obj_train_data/a.jpg  obj_train_data/a.txt  train.txt    of darknet and CVAT
    classes.txt images/a.jpg  labels/a.txt                       of Label Studio and labelImg

A label file lies beside its image, or below `labels` where the image lies below `images`. An
empty one is an image without objects (a negative); an image without one is unlabelled, unless
`missing_labels='negative'`.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import check_one_of, fail
from mkd_tf.data.base import SPLITS
from mkd_tf.data.sources.file_dataset import ALL
from mkd_tf.data.sources.notices import BadExample, Problem
from mkd_tf.data.sources.paths import ImageFolder, parts_of
from mkd_tf.data.sources.records import Contents, Labels, Record, RecordDataset, as_read
from mkd_tf.data.sources.yolo_config import CLASS_FILES, YoloConfig, read_config, read_list
from mkd_tf.data.sources.yolo_labels import is_label, read_labels
from mkd_tf.data.tree import Found, Tree
from mkd_tf.registry import Spec

_CONFIGS = (".yaml", ".yml", ".data", ".names")
_LABEL_FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS", "JPEGImages": "labels"}
_SAMPLE = 3  # text files that are opened in each folder


class Yolo(RecordDataset):
    """Images and YOLO labels in a folder.

    Args:
      path: the folder, or the configuration in it where it has several.
      missing_labels: what an image without a label file is, `unlabelled` or `negative`.
      **options: of `RecordDataset`.

    Raises:
      MkdError: as `RecordDataset`; if the classes are not given, or a path leads out of the folder.
    """

    kind = "line"
    are_fractions = True

    def __init__(self, path: str | os.PathLike[str], *, missing_labels: str = "unlabelled", **options: Any):
        check_one_of("missing_labels", missing_labels, ("unlabelled", "negative"))
        self._are_negative = missing_labels == "negative"
        self._used: set[Path] = set()
        super().__init__(path, **options)

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the YOLO data sets of a folder, one for each configuration."""
        configs = _configurations(tree)
        is_full = any(name.lower().endswith((".yaml", ".yml", ".data")) for name in configs)
        if not is_full and not _has_labels(Tree(tree.root) if tree.chosen else tree):
            return []
        if not configs:
            whole = [Found("YOLO", Spec("yolo", {"path": tree.path("")}), "label files")]
            return [] if tree.chosen else whole
        is_plain = not tree.chosen and len(configs) == 1 and "/" not in configs[0]
        paths = [""] if is_plain else configs
        return [
            Found("YOLO", Spec("yolo", {"path": tree.path(path)}), name)
            for path, name in zip(paths, configs, strict=True)
        ]

    def contents(self) -> Contents:
        tree = Tree(self.root / self.chosen)
        config = self._config(tree)
        lists = dict(self._lists(config)) if config.splits else {}
        problems: list[Problem] = []
        records: dict[str, list[Record]] = {}
        unlabelled: list[Path] = []
        for split, places in (lists or {ALL: [self.root]}).items():
            paths = list(dict.fromkeys(self._images_in(places, problems)))
            if split == "unlabelled":
                unlabelled += paths
                continue
            found = {path: self._labels_of(path) for path in paths}
            records[split] = [self._record(p, f, config) for p, f in found.items() if f or self._are_negative]
            missing = [p for p, f in found.items() if not f and not self._are_negative]
            if split in ("validation", "test"):
                for path in missing:
                    message = f"images of {split} without a label file are not used"
                    self.collector.add("unused", "labels", message, path.name)
            elif split == "train":
                unlabelled += missing
        splits = records if lists else self.by_folders(records[ALL])
        self._name_unused(tree)
        rest = unlabelled if lists else self.without_labels(splits)
        names = [config.names[number] for number in sorted(config.names)]
        return Contents(splits, rest, tuple(names), problems)

    def _config(self, tree: Tree) -> YoloConfig:
        """Returns the classes and splits; classes that were passed stand for those of a file."""
        files = _configurations(tree)
        config = YoloConfig({}, {})
        for file in files[:1] if self.chosen else files:
            config = read_config(self.root, file, self.collector)
        if len(files) > 1:
            do = "Give the path of the file that counts, as in yolo(path='folder/data.yaml')."
            fail(f"yolo {self.root}", expected="one configuration", got=" and ".join(files[:3]), do=do)
        if not config.names and self.given:
            return dataclasses.replace(config, names=dict(enumerate(self.given)))
        if not config.names:
            expected = "the names of the classes in data.yaml or classes.txt"
            do = f"Pass them, as in --dataset=\"yolo(path='{self.root}', classes=['cat', 'dog'])\"."
            fail(f"yolo {self.root}", expected=expected, got="numbers alone", do=do)
        return config

    def _lists(self, config: YoloConfig) -> Iterator[tuple[str, list[Path]]]:
        """Yields the folders and lists of each split; a split with those of another one is left out."""
        seen: dict[tuple[Path, ...], str] = {}
        for split in (split for split in SPLITS if split in config.splits):
            places = config.splits[split]
            if owner := seen.get(tuple(places)):
                message = f"{split} has the images of {owner}: they are taken for {owner} alone"
                self.collector.add("merged", "splits", message)
                continue
            seen[tuple(places)] = split
            yield split, places

    def _images_in(self, places: Sequence[Path], problems: list[Problem]) -> Iterator[Path]:
        for place in places:
            if place.is_dir():
                yield from ImageFolder(place, self.collector).images()
                continue
            for entry in read_list(place):
                try:
                    yield self._entry(place, entry)
                except BadExample as error:
                    problems.append(Problem(self.relative(place), None, str(error)))

    def _entry(self, place: Path, entry: str) -> Path:
        """Returns the image that a line of a list names: the longest rest of its path that is there."""
        parts = [part for part in parts_of(entry) if part != ".."]
        for cut in range(len(parts)):
            for base in (place.parent, self.root):
                path = base.joinpath(*parts[cut:])
                if path.is_file():
                    return path
        return self.images.find(entry)

    def _labels_of(self, image: Path) -> Path | None:
        """Returns the label file of an image; None if there is none."""
        relative = image.relative_to(self.root).with_suffix(".txt")
        parts = list(relative.parts)
        for place in range(len(parts) - 2, -1, -1):
            if folder := _LABEL_FOLDERS.get(parts[place]):
                found = self.root.joinpath(*parts[:place], folder, *parts[place + 1 :])
                if found.is_file():
                    return found
        places = (self.root / relative, self.root / "labels" / relative, self.root / "labels" / relative.name)
        return next((path for path in places if path.is_file()), None)

    def _record(self, image: Path, labels: Path | None, config: YoloConfig) -> Record:
        if labels is None:
            return Record(image, self.relative(image), None, as_read(Labels(())))
        file = self.relative(labels)
        self._used.add(labels)

        def read() -> Labels:
            return Labels(*read_labels(labels, file, config.names, config.has_keypoints))

        return Record(image, file, None, read)

    def _name_unused(self, tree: Tree) -> None:
        """Adds a notice of label files that belong to no image that is used."""
        for name in tree.files:
            is_text = name.lower().endswith(".txt") and os.path.basename(name).lower() not in CLASS_FILES
            if is_text and self.root / name not in self._used and _reads_as_labels(self.root / name):
                message = "label files without an image of a split are not read"
                self.collector.add("unused", "labels", message, name)


def _configurations(tree: Tree) -> list[str]:
    """Returns the files with the classes: those that also say the splits, else lists of classes."""
    found = tree.named(_CONFIGS, CLASS_FILES)
    kinds = (".data", ".yaml", ".yml")
    full = [n for n in found if n.lower().endswith(kinds) and _has_names(tree.root / n)]
    plain = [n for n in found if n.lower().endswith(".names") or os.path.basename(n).lower() in CLASS_FILES]
    several = full or plain
    depth = min((name.count("/") for name in several), default=0)
    return [name for name in several if name.count("/") == depth]


def _has_names(path: Path) -> bool:
    try:
        return (
            re.search(r"^[\"']?names[\"']?\s*[:=]", path.read_text("utf-8", errors="replace"), re.M)
            is not None
        )
    except OSError:
        return False


def _has_labels(tree: Tree) -> bool:
    """Returns whether one of the first text files of a folder holds labels."""
    folders: dict[str, int] = {}
    for name in tree.files:
        folder, base = os.path.split(name)
        if (
            base.lower().endswith(".txt")
            and base.lower() not in CLASS_FILES
            and folders.get(folder, 0) < _SAMPLE
        ):
            folders[folder] = folders.get(folder, 0) + 1
            if _reads_as_labels(tree.root / name):
                return True
    return False


def _reads_as_labels(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return is_label(stream.readline())
    except OSError:
        return False
