"""Data sets, by the name that `--dataset` gives them."""

from mkd_tf.data.base import Dataset
from mkd_tf.data.shapes import Shapes
from mkd_tf.data.voc_folder import VocFolder
from mkd_tf.registry import Table

DATASETS: Table[Dataset] = Table("dataset", {"shapes": Shapes, "voc_folder": VocFolder})
