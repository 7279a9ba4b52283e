"""mkd_tf: knowledge distillation of object detectors by several strategies at once.

The public face. Importing it is also what `keras.saving.load_model` needs to know
the project's classes.
"""

from mkd_tf.checks import MkdError
from mkd_tf.compression import CompressedDetector
from mkd_tf.data import DATASETS
from mkd_tf.data.pipeline.batches import batches_of
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.detectors import (
    DETECTORS,
    AdaptedDetector,
    Detector,
    Ensemble,
    Flipped,
    MobileNetV2,
    ResNet,
    Tiny,
    adapt,
    assemble_teacher,
)
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.objective import Objective
from mkd_tf.strategies import (
    STRATEGIES,
    AttentionMap,
    Exploration,
    Hint,
    KerasDistillation,
    LayerRelation,
    Localization,
    SoftBoxes,
    SoftClasses,
    Strategy,
)
from mkd_tf.version import __version__

__all__ = [
    "__version__",
    "DATASETS",
    "DETECTORS",
    "STRATEGIES",
    "AdaptedDetector",
    "Anchors",
    "AttentionMap",
    "CompressedDetector",
    "Detector",
    "Distiller",
    "Ensemble",
    "Exploration",
    "Flipped",
    "Hint",
    "KerasDistillation",
    "LayerRelation",
    "Localization",
    "MkdError",
    "MobileNetV2",
    "Objective",
    "ResNet",
    "SoftBoxes",
    "SoftClasses",
    "Strategy",
    "Tiny",
    "adapt",
    "assemble_teacher",
    "batches_of",
    "grid_anchors",
    "load_detector",
    "save_detector",
]
