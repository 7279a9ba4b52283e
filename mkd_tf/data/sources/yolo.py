"""`yolo`: images with YOLO's text files.

    data.yaml   images/train/a.jpg   labels/train/a.txt          splits of Ultralytics
    data.yaml   train/images/a.jpg   train/labels/a.txt          of Roboflow
    obj.data    obj_train_data/a.jpg  obj_train_data/a.txt  train.txt    of darknet and CVAT
    classes.txt images/a.jpg  labels/a.txt                       of Label Studio and labelImg

A label file lies beside its image, or below `labels` where the image lies below `images`, or is
the only one of its name. An empty one is an image without objects (a negative); an image without
one is unlabelled, unless `missing_labels='negative'`.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.data.base import SPLITS
from mkd_tf.data.sources.file_dataset import ALL
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.paths import ImageFolder, parts_of
from mkd_tf.data.sources.records import Contents, Labels, Record, RecordDataset, as_read
from mkd_tf.data.sources.yolo_config import YoloConfig, read_config, read_list
from mkd_tf.data.sources.yolo_labels import read_labels
from mkd_tf.data.sources.yolo_layout import LabelFiles, class_files, configurations, label_folders
from mkd_tf.data.tree import Found, Tree
from mkd_tf.registry import Spec


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
        super().__init__(path, **options)

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the YOLO data sets of a folder, one for each configuration."""
        configs = configurations(tree)
        is_full = any(name.lower().endswith((".yaml", ".yml", ".data")) for name in configs)
        if not is_full and not label_folders(Tree(tree.root) if tree.chosen else tree):
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
        whole = Tree(self.root) if self.chosen else tree
        config = self._config(tree, whole)
        lists = dict(self._lists(config)) if config.splits else {}
        labels = LabelFiles(whole, self.images, self.collector)
        problems: list[Problem] = []
        records: dict[str, list[Record]] = {}
        unlabelled: list[Path] = []
        for split, places in (lists or {ALL: [self.root]}).items():
            paths = list(dict.fromkeys(self._images_in(places, problems)))
            if split == "unlabelled":
                unlabelled += paths
                continue
            found = {path: labels.find(path) for path in paths}
            records[split] = [self._record(p, f, config) for p, f in found.items() if f or self._are_negative]
            missing = [p for p, f in found.items() if not f and not self._are_negative]
            if split in ("validation", "test"):
                for path in missing:
                    message = f"images of {split} without a label file are not used"
                    self.collector.add("unused", "labels", message, path.name)
            elif split == "train":
                unlabelled += missing
        splits = records if lists else self.by_folders(records[ALL])
        for name in labels.unused(whole.files):
            message = "label files without an image of a split are not read"
            self.collector.add("unused", "labels", message, name)
        rest = unlabelled if lists else self.without_labels(splits)
        names = [config.names[number] for number in sorted(config.names)]
        return Contents(splits, rest, tuple(names), problems)

    def _config(self, tree: Tree, whole: Tree) -> YoloConfig:
        """Returns the classes and splits; classes that were passed stand for those of a file."""
        files = configurations(tree)
        config = YoloConfig({}, {})
        for file in files[:1] if self.chosen else files:
            config = read_config(self.root, file, self.collector)
            self._compare(config, file, whole)
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

    def _compare(self, config: YoloConfig, file: str, whole: Tree) -> None:
        """Adds a notice of each other file whose classes differ from those of the configuration `file`."""
        for name in class_files(whole):
            try:
                names = config.names if name == file else read_config(self.root, name, Notices()).names
            except MkdError:  # another tool's file
                continue
            if names and config.names and names != config.names:
                shown = ", ".join(names.values())
                message = f"its classes, {shown:.60}, differ from those of {file}, which count"
                self.collector.add("suspect", name, message)

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
            if os.path.isdir(place):
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
                if os.path.isfile(path):
                    return path
        return self.images.find(entry)

    def _record(self, image: Path, labels: Path | None, config: YoloConfig) -> Record:
        if labels is None:
            return Record(image, self.relative(image), None, as_read(Labels(())))
        file = self.relative(labels)

        def read() -> Labels:
            return Labels(*read_labels(labels, file, config.names, config.has_keypoints, self.collector))

        return Record(image, file, None, read)
