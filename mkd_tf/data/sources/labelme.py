"""`labelme`: images with a JSON file of labelme for each, beside them or in a folder of their own.

    a.jpg  a.json      or      images/a.jpg   annotations/a.json

A file without shapes is an image without objects (a negative), an image without a file
is unlabelled. Splits come from the folders that images lie in.
"""

import os
from pathlib import Path, PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.labelme_file import read_labelme_file
from mkd_tf.data.sources.notices import BadExample, Problem
from mkd_tf.data.sources.paths import parts_of
from mkd_tf.data.sources.records import Contents, Labels, Record, RecordDataset, as_read
from mkd_tf.data.tree import Found, Tree, json_kind
from mkd_tf.registry import Spec


class Labelme(RecordDataset):
    """Images and files of labelme in a folder; arguments are those of `RecordDataset`."""

    kind = "shape"

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the labelme files of a folder as one data set."""
        files = tree.json.get("labelme", [])
        if not files:
            return []
        count = sum(name.lower().endswith(".json") for name in tree.files)
        # One file is one image: its folder is the data set.
        return [Found("labelme", Spec("labelme", {"path": tree.path("")}), f"{count} JSON files")]

    def contents(self) -> Contents:
        records: list[Record] = []
        problems: list[Problem] = []
        for file in (name for name in Tree(self.root).files if name.lower().endswith(".json")):
            if json_kind(self.root / file) != "labelme" and not self._is_of_an_image(file):
                self.collector.add("unused", ".", "JSON files that are not of labelme are not read", file)
                continue
            try:
                path, labels = self._read(file)
            except BadExample as error:
                problems.append(Problem(file, None, str(error)))
                continue
            records.append(Record(path, file, None, as_read(labels)))
        if not records and not problems:
            do = "Give the folder of the JSON files."
            fail(f"labelme {self.root}", expected="JSON files of labelme", got="none", do=do)
        splits = self.by_folders(records)
        return Contents(splits, self.without_labels(splits), None, problems)

    def _is_of_an_image(self, file: str) -> bool:
        """Returns whether an image of that name lies beside a file: then it is a damaged file of labelme."""
        beside = self.root / file
        return any(os.path.isfile(beside.with_suffix(suffix)) for suffix in IMAGE_SUFFIXES)

    def _read(self, file: str) -> tuple[Path, Labels]:
        found = read_labelme_file(self.root / file, file, self.collector)
        labels = Labels(found.objects, found.problems, found.size)
        return self._image(PurePosixPath(file), found.image), labels

    def _image(self, file: PurePosixPath, image_path: str) -> Path:
        """Returns the image of a file: what it names from its own folder on, else that of its name."""
        parts = parts_of((file.parent / image_path.replace("\\", "/")).as_posix())
        if image_path and ".." not in parts and os.path.isfile(self.root.joinpath(*parts)):
            return self.root.joinpath(*parts)
        for suffix in IMAGE_SUFFIXES:
            beside = self.root / file.with_suffix(suffix)
            if os.path.isfile(beside):
                self.collector.add(
                    "changed", "labelme", "images are found by the name of their file", file.name
                )
                return beside
        name = parts_of(image_path)[-1] if parts_of(image_path) else file.with_suffix(".jpg").name
        return self.images.find(name)
