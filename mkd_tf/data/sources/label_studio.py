"""`label_studio`: images with a JSON export of Label Studio.

    project-1-at-2026-01-01.json   images/0a1b2c3d-a.jpg

The images of a project are exported on their own; those of an upload are found with or without the
eight digits that Label Studio puts before their names. A task without an annotation, or whose
annotations were all cancelled, is an unlabelled image; an empty annotation says that there is
no object. Splits come from the folders that images lie in.
"""

import os
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from mkd_tf.checks import fail
from mkd_tf.data.sources.label_studio_file import Task, read_label_studio_file
from mkd_tf.data.sources.notices import BadExample, Problem
from mkd_tf.data.sources.paths import parts_of
from mkd_tf.data.sources.records import Contents, Labels, Record, RecordDataset, as_read
from mkd_tf.data.tree import Found, Tree
from mkd_tf.registry import Spec

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


class LabelStudio(RecordDataset):
    """Images and an export of Label Studio in a folder; arguments are those of `RecordDataset`."""

    kind = "region"
    are_fractions = True

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns each export as a data set of its own: several are often states of one project."""
        return [
            Found("Label Studio", Spec("label_studio", {"path": tree.path(name)}), name)
            for name in tree.json.get("label_studio", [])
        ]

    def contents(self) -> Contents:
        files = Tree(self.root / self.chosen).json.get("label_studio", [])
        if len(files) != 1:
            got = f"{len(files)} ({', '.join(files[:3])})" if files else "none"
            do = "Give the path of the file."
            fail(f"label_studio {self.root}", expected="one JSON export of Label Studio", got=got, do=do)
        file = files[0]
        records: list[Record] = []
        problems: list[Problem] = []
        for task in read_label_studio_file(self.root / file, file, self.collector):
            try:
                path = self._image(task)
            except BadExample as error:
                problems.append(Problem(file, task.index, str(error), task.image or None, "task"))
                continue
            if task.objects is None:
                message = "tasks without an annotation are unlabelled images"
                self.collector.add("unused", file, message, path.name)
                continue
            labels = Labels(task.objects, task.problems, task.size)
            records.append(Record(path, file, task.index, as_read(labels)))
        splits = self.by_folders(records)
        return Contents(splits, self.without_labels(splits), None, problems)

    def _image(self, task: Task) -> Path:
        """Returns the image of a task, which names it by the address that Label Studio shows it under."""
        if not task.image:
            raise BadExample("names no image")
        names = _file_names(task.image)
        for name in names:
            if os.path.isfile(self.root / name):
                return self.root / name
        faults: list[BadExample] = []
        for name in dict.fromkeys((names[0], names[0].rpartition("/")[2], names[-1])):
            try:
                return self.images.find(name)
            except BadExample as error:
                faults.append(error)
        raise faults[0]


def _file_names(address: str) -> list[str]:
    """Returns the paths that an address may mean, those without the digits of an upload last."""
    parsed = urlparse(address)
    query = parse_qs(parsed.query)
    text = query["d"][0] if "d" in query else unquote(parsed.path)  # d: a file of Label Studio's own storage
    parts = [part for part in parts_of(text) if part != ".."]
    if not parts:
        raise BadExample(f"its image is {address!r:.60}, not a path")
    tails = ["/".join(parts[cut:]) for cut in range(len(parts))]
    plain = _UPLOADED.sub("", parts[-1])
    return [*tails, *(f"{folder}{plain}" for folder in ("images/", ""))]
