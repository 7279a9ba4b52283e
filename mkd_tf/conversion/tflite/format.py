"""The TFLite format: the options of a file, and where its parts are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkd_tf.checks import check_fraction
from mkd_tf.conversion.base import FileRunner, Format, Heads
from mkd_tf.conversion.tflite import POSTPROCESSES, QUANTIZATIONS
from mkd_tf.options import LOWEST_SCORE, option

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress


@dataclasses.dataclass(frozen=True)
class TFLiteFile(Format):
    """What all TFLite files have in common, however they are made."""

    ending = ".tflite"

    @staticmethod
    def runner(source: str | Path | bytes, threads: int = 1) -> FileRunner:
        from mkd_tf.conversion.tflite.runner import TFLiteRunner

        return TFLiteRunner(source, threads=threads)

    def heads(self, content: bytes, images: np.ndarray) -> Heads:
        from mkd_tf.conversion.tflite.heads import tflite_heads

        return tflite_heads(content, images)

    def report(self, content: bytes) -> dict[str, Any]:
        from mkd_tf.conversion.tflite.weights_report import weights_report

        return {"weights": weights_report(content)}


@dataclasses.dataclass(frozen=True)
class TFLite(TFLiteFile):
    """A TFLite file, for phones, boards and Edge TPUs."""

    quantization: str = option(
        "int8", "Precision of weights and activations; dynamic: of weights alone.", choices=QUANTIZATIONS
    )
    postprocess: str = option(
        "detection",
        "detection: suppression is in the file; raw: outputs are the heads.",
        choices=POSTPROCESSES,
    )
    score_threshold: float = option(
        LOWEST_SCORE,
        "Lowest score of a detection; a higher one makes suppression in crowds faster and costs AP.",
        check=check_fraction,
    )

    def suffix(self) -> str:
        return f"{self.quantization}{'_raw' if self.postprocess == 'raw' else ''}.tflite"

    def convert(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        fit: str,
        on_progress: OnProgress,
    ) -> bytes:
        from mkd_tf.conversion.tflite.convert import to_tflite
        from mkd_tf.detection.postprocess import PostprocessConfig

        config = PostprocessConfig(score_threshold=self.score_threshold)
        options: Any = {"labels": labels, "config": config, "on_progress": on_progress}
        return to_tflite(detector, self.quantization, calibration, self.postprocess, **options)

    def companions(self, name: str, detector: Detector) -> Mapping[str, str]:
        from mkd_tf.conversion.tflite.metadata_writer import anchors_csv

        if self.postprocess != "raw":
            return {}
        return {f"{Path(name).stem}.anchors.csv": anchors_csv(detector.anchors)}
