"""Data sets, by the name that `--dataset` gives them.

Example:
  >>> from mkd_tf import DATASETS
  >>> list(DATASETS)
  ['shapes', 'voc_folder', 'coco_json', 'voc/2007', 'voc/2012', 'coco/2017']
  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder:
  ...     spec = "shapes(train=2, validation=0, test=0, unlabelled=0, size=64)"
  ...     data = DATASETS.build(spec, data_dir=folder)
  ...     data.split_names, data.split("train")[0]["image"].shape
  (('train',), (64, 64, 3))
"""

import functools

from mkd_tf.config import DataConfig
from mkd_tf.data.base import Dataset
from mkd_tf.data.sources.coco_json import CocoJson
from mkd_tf.data.sources.shapes import Shapes
from mkd_tf.data.sources.tfds_detection import TfdsDetection
from mkd_tf.data.sources.voc_folder import VocFolder
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


def open_dataset(config: DataConfig, name: str = "") -> Dataset:
    """Returns the data set `name`, or the configured one if `name` is empty.

    Raises:
      MkdError: if it cannot be read.
    """
    return DATASETS.build(
        name or config.dataset, on_bad_example=config.on_bad_example, data_dir=config.data_dir or None
    )
