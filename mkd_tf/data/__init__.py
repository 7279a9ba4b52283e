"""Data sets, by the name that `--dataset` gives them."""

import functools

from mkd_tf.data.base import Dataset
from mkd_tf.data.coco_json import CocoJson
from mkd_tf.data.shapes import Shapes
from mkd_tf.data.tfds_detection import TfdsDetection
from mkd_tf.data.voc_folder import VocFolder
from mkd_tf.registry import Table

DATASETS: Table[Dataset] = Table(
    "dataset",
    {
        "shapes": Shapes,
        "voc_folder": VocFolder,
        "coco_json": CocoJson,
        "voc/2007": functools.partial(TfdsDetection, "voc/2007"),
        "voc/2012": functools.partial(TfdsDetection, "voc/2012"),
        "coco/2017": functools.partial(TfdsDetection, "coco/2017"),
    },
)
