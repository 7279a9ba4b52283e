"""`cvat`: images with annotations of CVAT, "CVAT for images 1.1".

    annotations.xml   images/a.jpg   images/Train/b.jpg

or several such files. An image's `subset` is its split, else the folder that it lies in, else
the name of its file (`train.xml`). Listed images without shapes are images without objects (negatives).
"""

import os
from pathlib import Path, PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.data.sources.cvat_file import CvatImage, read_cvat_file
from mkd_tf.data.sources.notices import BadExample, Problem
from mkd_tf.data.sources.records import Contents, Labels, Record, RecordDataset, as_read
from mkd_tf.data.sources.split_names import split_of
from mkd_tf.data.tree import Found, Tree, xml_root
from mkd_tf.registry import Spec


class Cvat(RecordDataset):
    """Images and annotations of CVAT in a folder; arguments are those of `RecordDataset`."""

    kind = "shape"

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the CVAT files of a folder as one data set."""
        files = tree.xml.get("annotations", [])
        if not files:
            return []
        source = files[0] if len(files) == 1 else f"{files[0]} and others"
        return [Found("CVAT", Spec("cvat", {"path": tree.path(tree.chosen)}), source)]

    def contents(self) -> Contents:
        found = Tree(self.root / self.chosen).named((".xml",))
        files = [name for name in found if xml_root(self.root / name) == "annotations"]
        if not files:
            do = "Export the task as 'CVAT for images 1.1'."
            fail(f"cvat {self.root}", expected="XML files of CVAT", got="none", do=do)
        names: dict[str, None] = {}
        subsets: dict[str, list[Record]] = {}
        problems: list[Problem] = []
        for file in files:
            content = read_cvat_file(self.root / file, file, self.collector)
            names.update(dict.fromkeys(content.class_names))
            for image in content.images:
                try:
                    path = self._image(image)
                except BadExample as error:
                    problems.append(Problem(file, image.index, str(error), image.name, "image"))
                    continue
                labels = Labels(image.objects, image.problems, image.size)
                record = Record(path, file, image.index, as_read(labels))
                subsets.setdefault(image.subset or PurePosixPath(file).stem, []).append(record)
        splits = self._by_subset(subsets)
        return Contents(splits, self.without_labels(splits), tuple(names) or None, problems)

    def _image(self, image: CvatImage) -> Path:
        for folder in (f"images/{image.subset}/", "images/", ""):
            if image.name and ".." not in image.name and os.path.isfile(self.root / f"{folder}{image.name}"):
                return self.root / f"{folder}{image.name}"
        return self.images.find(image.name)

    def _by_subset(self, subsets: dict[str, list[Record]]) -> dict[str, list[Record]]:
        if not any(split_of(name) for name in subsets):
            return self.by_folders([record for several in subsets.values() for record in several])
        splits: dict[str, list[Record]] = {}
        for name, several in subsets.items():
            split = split_of(name)
            if split is None:
                message = f"the subset {name!r} is taken for train"
                self.collector.add("suspect", "splits", message, count=len(several))
            if split != "unlabelled":
                splits.setdefault(split or "train", []).extend(several)
        return splits
