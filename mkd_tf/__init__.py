"""mkd_tf: knowledge distillation of object detectors by several strategies at once.

The public face. In user code `import mkd_tf` imports all of it, which is also what
`keras.saving.load_model` needs to know the project's classes. A program of the
project imports only what it uses, so that `--help` does not wait for TensorFlow;
it calls `import_public` before it loads a file.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from mkd_tf.version import __version__

# onnxruntime 1.32 keeps a data base of its use in the user's cache and sends it to its maker. A run uses no
# network; who wants it all the same sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    # For type checkers and editors; tests/packaging/test_public.py holds it against the table.
    from mkd_tf.checks import MkdError as MkdError
    from mkd_tf.compression import CompressedDetector as CompressedDetector
    from mkd_tf.data import DATASETS as DATASETS
    from mkd_tf.data.pipeline.batches import batches_of as batches_of
    from mkd_tf.detection.anchors import Anchors as Anchors
    from mkd_tf.detection.anchors import grid_anchors as grid_anchors
    from mkd_tf.detectors import DETECTORS as DETECTORS
    from mkd_tf.detectors import AdaptedDetector as AdaptedDetector
    from mkd_tf.detectors import Detector as Detector
    from mkd_tf.detectors import EfficientNetLite as EfficientNetLite
    from mkd_tf.detectors import Ensemble as Ensemble
    from mkd_tf.detectors import Flipped as Flipped
    from mkd_tf.detectors import MobileNetV2 as MobileNetV2
    from mkd_tf.detectors import ResNet as ResNet
    from mkd_tf.detectors import Tiny as Tiny
    from mkd_tf.detectors import adapt as adapt
    from mkd_tf.detectors import assemble_teacher as assemble_teacher
    from mkd_tf.detectors import from_keras_hub as from_keras_hub
    from mkd_tf.detectors.files import load_detector as load_detector
    from mkd_tf.detectors.files import save_detector as save_detector
    from mkd_tf.distillation.balance import Balance as Balance
    from mkd_tf.distillation.distiller import Distiller as Distiller
    from mkd_tf.distillation.objective import Objective as Objective
    from mkd_tf.distillation.task import DetectionTask as DetectionTask
    from mkd_tf.strategies import STRATEGIES as STRATEGIES
    from mkd_tf.strategies import AttentionMap as AttentionMap
    from mkd_tf.strategies import CrossHead as CrossHead
    from mkd_tf.strategies import Exploration as Exploration
    from mkd_tf.strategies import Hint as Hint
    from mkd_tf.strategies import KerasDistillation as KerasDistillation
    from mkd_tf.strategies import LayerRelation as LayerRelation
    from mkd_tf.strategies import Localization as Localization
    from mkd_tf.strategies import SoftBoxes as SoftBoxes
    from mkd_tf.strategies import SoftClasses as SoftClasses
    from mkd_tf.strategies import Strategy as Strategy

# The public names of each module.
_PUBLIC = {
    "mkd_tf.checks": ["MkdError"],
    "mkd_tf.compression": ["CompressedDetector"],
    "mkd_tf.data": ["DATASETS"],
    "mkd_tf.data.pipeline.batches": ["batches_of"],
    "mkd_tf.detection.anchors": ["Anchors", "grid_anchors"],
    "mkd_tf.detectors": [
        "DETECTORS",
        "AdaptedDetector",
        "Detector",
        "EfficientNetLite",
        "Ensemble",
        "Flipped",
        "MobileNetV2",
        "ResNet",
        "Tiny",
        "adapt",
        "assemble_teacher",
        "from_keras_hub",
    ],
    "mkd_tf.detectors.files": ["load_detector", "save_detector"],
    "mkd_tf.distillation.balance": ["Balance"],
    "mkd_tf.distillation.distiller": ["Distiller"],
    "mkd_tf.distillation.objective": ["Objective"],
    "mkd_tf.distillation.task": ["DetectionTask"],
    "mkd_tf.strategies": [
        "STRATEGIES",
        "AttentionMap",
        "CrossHead",
        "Exploration",
        "Hint",
        "KerasDistillation",
        "LayerRelation",
        "Localization",
        "SoftBoxes",
        "SoftClasses",
        "Strategy",
    ],
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = ["__version__", *sorted(_MODULES)]


def import_public() -> None:
    """Imports every public name, which registers the project's classes with Keras; safe to repeat."""
    for name in _MODULES:
        getattr(sys.modules[__name__], name)


if not TYPE_CHECKING:
    # Type checkers do not see it: for them a name that is not imported above is an error.
    def __getattr__(name: str) -> Any:
        """Imports a public name when it is first used (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_program_starting() -> bool:
    """Whether this process is a program of the project: `mkd`, or `python -m` one of its modules.

    `sys.argv[0]` is no module's name: it is "-m" while a package is imported for
    `python -m`, and the path of a file afterwards. `sys.orig_argv` has the name at the
    place of `argv[0]`, behind "-m" or as one word with it. Where `argv` was changed since
    the start, the answer is no: importing too much costs seconds, too little a class.
    """
    if sys.argv and os.path.basename(sys.argv[0]) in ("mkd", "mkd.exe"):
        return True
    count = len(sys.argv)
    if not 0 < count < len(sys.orig_argv):
        return False
    before, module = sys.orig_argv[-count - 1 :][:2]
    if before != "-m" and not module.startswith("-m"):
        return False
    module = module.removeprefix("-m")
    return module.startswith("mkd_tf.") or module in _DOORS


# The front doors of the checkout's folder export/.
_DOORS = ("export.tflite", "export.onnx", "export.edgetpu", "export.diagnose")

if not _is_program_starting():
    import_public()
