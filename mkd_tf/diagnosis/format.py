"""The options of a diagnosis, and the format of the file in which its worst layers are precise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mkd_tf.checks import check_positive
from mkd_tf.conversion.base import import_extra
from mkd_tf.conversion.tflite.format import TFLiteFile
from mkd_tf.options import Options, at_least, option

if TYPE_CHECKING:
    from types import ModuleType

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress

PRECISIONS = ("int16", "float")
PACKAGE = "ai-edge-quantizer"


@dataclasses.dataclass(frozen=True)
class DiagnoseOptions(Options):
    """What is measured, and whether a file is exported whose worst layers have a higher precision."""

    images: int = option(32, "On how many images errors are measured.", check=check_positive)
    precise_layers: int = option(
        0, "Export a file with this many of the worst layers in --precision; 0 for none.", check=at_least(0)
    )
    precision: str = option("int16", "Of the layers that --precise_layers takes.", choices=PRECISIONS)


def import_quantizer() -> ModuleType:
    """Returns ai-edge-quantizer's module `quantizer`; raises `MkdError` if it is not installed."""
    return import_extra("ai_edge_quantizer.quantizer", "selective precision", "selective")


@dataclasses.dataclass(frozen=True)
class Selective(TFLiteFile):
    """An int8 TFLite file in which some layers have a higher precision.

    It is not in `FORMATS`: its layers come from a diagnosis.
    """

    layers: tuple[str, ...] = option((), "Names as in `Diagnosis.worst`.")
    precision: str = option("int16", "Of these layers.", choices=PRECISIONS)
    packages = (PACKAGE,)
    quantization = "int8"

    def suffix(self) -> str:
        return "selective.tflite"

    def require(self) -> None:
        import_quantizer()

    def convert(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        fit: str,
        on_progress: OnProgress,
    ) -> bytes:
        from mkd_tf.diagnosis.selective import to_selective

        del fit, on_progress
        return to_selective(detector, calibration, self.layers, self.precision, labels=labels)

    def suppression(self) -> tuple[float | None, int | None] | None:
        return None, None

    def report(self, content: bytes) -> dict[str, Any]:
        chosen = {"layers": list(self.layers), "precision": self.precision}
        return chosen | super().report(content)
