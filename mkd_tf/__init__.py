"""mkd_tf: knowledge distillation of object detectors by several strategies at once.

The public face. Importing it is also what `keras.saving.load_model` needs to know
the project's classes.
"""

from mkd_tf.anchors import Anchors, grid_anchors
from mkd_tf.checks import MkdError
from mkd_tf.data import DATASETS
from mkd_tf.data.pipeline import batches_of
from mkd_tf.detectors import DETECTORS, Detector, Tiny
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.distiller import Distiller
from mkd_tf.objective import Objective
from mkd_tf.strategies import (
    STRATEGIES,
    AttentionMap,
    Hint,
    LayerRelation,
    SoftBoxes,
    SoftClasses,
    Strategy,
)

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "DETECTORS",
    "STRATEGIES",
    "Anchors",
    "AttentionMap",
    "Detector",
    "Distiller",
    "Hint",
    "LayerRelation",
    "MkdError",
    "Objective",
    "SoftBoxes",
    "SoftClasses",
    "Strategy",
    "Tiny",
    "batches_of",
    "grid_anchors",
    "load_detector",
    "save_detector",
]
