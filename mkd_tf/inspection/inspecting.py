"""Inspects a data set: what it holds at an input size, what was not used, and what looks wrong."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.data.base import Dataset
from mkd_tf.data.sources.file_dataset import FileDataset
from mkd_tf.detection.anchors import Anchors
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.inspection.contents import Contents, read_contents
from mkd_tf.inspection.copies import find_copies
from mkd_tf.inspection.facts import split_facts
from mkd_tf.inspection.learnable import MOST_IMAGES, learnable
from mkd_tf.inspection.suspects import find_suspects
from mkd_tf.schemas.inspection import InspectionFile, Noticed

_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found in a data set.

    Attributes:
      record: the content of `data.json`.
      contents: the annotations of each split.
      learnable: of each split, as `learnable.learnable` returns it.
    """

    record: InspectionFile
    contents: Mapping[str, Contents]
    learnable: Mapping[str, np.ndarray]


def inspect(
    dataset: Dataset,
    spec: str,
    anchors: Anchors,
    fit: str = "stretch",
    *,
    copies: bool = True,
    assigned: int = MOST_IMAGES,
    on_progress: OnProgress = ignore_progress,
) -> Inspection:
    """Returns what a data set holds.

    Args:
      dataset: the data set.
      spec: what it was opened as.
      anchors: of the network that is to learn it; its input size is what box sizes refer to.
      fit: how images are brought to the input.
      copies: whether to look for images that resemble each other; the images of data sets
        that were not scanned when they were opened are decoded for it.
      assigned: images of each split whose objects are assigned to locations, at most.
      on_progress: called with how much of the longest part is done.
    """
    names = tuple(dataset.class_names)
    contents = read_contents(dataset, anchors.image_size, fit, on_progress)
    strides = strides_of(anchors)
    can = {split: learnable(found, anchors, assigned) for split, found in contents.items()}
    suspects = find_suspects(contents, names)
    if copies:
        ids = {split: found.ids for split, found in contents.items()}
        suspects += find_copies(dataset, ids, on_progress)
    record: InspectionFile = {
        "dataset": spec,
        "name": dataset.name,
        "classes": [*names],
        "image_size": anchors.image_size,
        "fit": fit,
        "strides": strides,
        "splits": {s: split_facts(c, names, can[s], strides[0]) for s, c in contents.items()},
        "notices": notices_of(dataset),
        "suspects": suspects,
    }
    return Inspection(record, contents, can)


def strides_of(anchors: Anchors) -> list[int]:
    """Returns the distances of two locations of each level in pixels, the finest first."""
    found = []
    for count, each in zip(anchors.level_counts, anchors.per_location, strict=True):
        found.append(round(anchors.image_size / (count / each) ** 0.5))
    return sorted(found)


def notices_of(dataset: Dataset) -> list[Noticed]:
    """Returns what reading a data set did not use or changed, and the problems that it left out."""
    found: list[Noticed] = []
    for notice in getattr(dataset, "notices", ()):
        found.append(
            {
                "kind": notice.kind,
                "where": notice.where,
                "count": notice.count,
                "message": notice.message,
                "examples": [*notice.examples],
            }
        )
    problems = dataset.problems if isinstance(dataset, FileDataset) else ()
    by_file: dict[str, list[str]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(str(problem).removeprefix(problem.file).lstrip(": "))
    for file, messages in by_file.items():
        found.append(_problem(file, messages))
    return found


def _problem(file: str, messages: Sequence[str]) -> Noticed:
    text = "left out" if len(messages) == 1 else f"{len(messages)} entries left out"
    return {
        "kind": "problem",
        "where": file,
        "count": len(messages),
        "message": f"{text}: {messages[0]}",
        "examples": [*messages[1 : 1 + _EXAMPLES]],
    }
