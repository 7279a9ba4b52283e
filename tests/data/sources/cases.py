"""What tests of annotation cases share: the data set of a maker, and the exact words a user sees."""

import logging
from typing import Any

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import Dataset
from mkd_tf.data.sources.coco_json import CocoJson
from mkd_tf.data.sources.voc_folder import VocFolder
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import VocMaker


def open_voc(voc: VocMaker, **arguments: Any) -> VocFolder:
    """Opens the folder with all images in train, unless lists or arguments say otherwise."""
    return VocFolder(voc.root, **{"fractions": (1, 0, 0), **arguments})


def open_coco(coco: CocoMaker, **arguments: Any) -> CocoJson:
    """Writes the file and opens it, with all images in train unless arguments say otherwise."""
    return CocoJson(coco.images, coco.write(), **{"fractions": (1, 0, 0), **arguments})


def refusal(call: Any, *arguments: Any, **more: Any) -> str:
    """Returns the error that `call` ends with."""
    with pytest.raises(MkdError) as error:
        call(*arguments, **more)
    return str(error.value)


def words(dataset: Dataset) -> list[str]:
    """Returns the notices of a data set as they are printed, without those of classes that nothing shows."""
    return [f"{n.kind}: {n}" for n in dataset.notices if "classes have no object" not in n.message]


def boxes(dataset: Dataset, split: str = "train") -> dict[str, list[list[int]]]:
    """Returns the boxes of each image, xmin, ymin, xmax, ymax in whole pixels."""
    found = {}
    for element in (dataset.split(split)[i] for i in range(len(dataset.split(split)))):
        height, width = element["image"].shape[:2]
        rows = element["objects"]["bbox"] * [height, width, height, width]
        found[element["image/id"]] = np.round(rows[:, [1, 0, 3, 2]]).astype(int).tolist()
    return found


def objects(dataset: Dataset, split: str = "train") -> dict[str, list[str]]:
    """Returns the classes of each image's objects; `!` marks a crowd, `?` a difficult one."""
    found = {}
    for element in (dataset.split(split)[i] for i in range(len(dataset.split(split)))):
        rows = element["objects"]
        names = [dataset.class_names[label] for label in rows["label"]]
        marks = zip(names, rows["is_crowd"], rows["is_difficult"], strict=True)
        found[element["image/id"]] = [n + "!" * bool(c) + "?" * bool(d) for n, c, d in marks]
    return found


def unknown(dataset: Dataset, split: str = "train") -> dict[str, list[list[int]]]:
    """Returns the unknown areas of each image that has any, xmin, ymin, xmax, ymax in pixels."""
    found = {}
    for element in (dataset.split(split)[i] for i in range(len(dataset.split(split)))):
        height, width = element["image"].shape[:2]
        rows = element["unknown"] * [height, width, height, width]
        if len(rows):
            found[element["image/id"]] = np.round(rows[:, [1, 0, 3, 2]]).astype(int).tolist()
    return found


def shown(caplog: pytest.LogCaptureFixture) -> str:
    """Returns the warnings that a program prints."""
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
