"""Data sets, by the name or the path that `--dataset` gives them.

Example:
  >>> from mkd_tf import DATASETS
  >>> list(DATASETS)
  ['shapes', 'voc_folder', 'coco_json', 'yolo', 'cvat', 'label_studio', 'labelme', 'tfds', 'voc/2007', \
'voc/2012', 'coco/2017']
  >>> import tempfile
  >>> with tempfile.TemporaryDirectory() as folder:
  ...     spec = "shapes(train=2, validation=0, test=0, unlabelled=0, size=64)"
  ...     data = DATASETS.build(spec, data_dir=folder)
  ...     data.split_names, data.split("train")[0]["image"].shape
  (('train',), (64, 64, 3))
"""

import functools
import logging

from mkd_tf.config import DataConfig
from mkd_tf.data.base import Dataset
from mkd_tf.data.recognising import is_path, recognise, summary
from mkd_tf.data.sources.coco_json import CocoJson
from mkd_tf.data.sources.cvat import Cvat
from mkd_tf.data.sources.label_studio import LabelStudio
from mkd_tf.data.sources.labelme import Labelme
from mkd_tf.data.sources.shapes import Shapes
from mkd_tf.data.sources.tfds_detection import TfdsDetection
from mkd_tf.data.sources.tfds_folder import TfdsFolder
from mkd_tf.data.sources.voc_folder import VocFolder
from mkd_tf.data.sources.yolo import Yolo
from mkd_tf.registry import Spec, Table

_LOGGER = logging.getLogger(__name__)

DATASETS: Table[Dataset] = Table(
    "dataset",
    {
        "shapes": Shapes,
        "voc_folder": VocFolder,
        "coco_json": CocoJson,
        "yolo": Yolo,
        "cvat": Cvat,
        "label_studio": LabelStudio,
        "labelme": Labelme,
        "tfds": TfdsFolder,
        "voc/2007": functools.partial(TfdsDetection, "voc/2007"),
        "voc/2012": functools.partial(TfdsDetection, "voc/2012"),
        "coco/2017": functools.partial(TfdsDetection, "coco/2017"),
    },
)


def open_dataset(config: DataConfig, name: str = "") -> Dataset:
    """Returns the data set `name`, or the configured one if `name` is empty.

    A name of the table or a call of one is built; the path of a folder or file is recognised,
    and what it is stands in one line of the log.

    Raises:
      MkdError: if it cannot be read, or a path holds no data set or several.
    """
    text = config.named(name)
    spec: Spec | str = text
    found = None
    if is_path(text, DATASETS):
        found = recognise(text, DATASETS.entries.values())
        spec = found.spec
    dataset = DATASETS.build(spec, on_bad_example=config.on_bad_example, data_dir=config.data_dir or None)
    if found is not None:
        _LOGGER.info("%s", summary(found, dataset))
    return dataset
