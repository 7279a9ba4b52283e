"""The TFLite format: the options of a file, and where its parts are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkd_tf.conversion.base import (
    AUTO,
    FileRunner,
    Format,
    Heads,
    check_threshold,
    chosen_suppression,
)
from mkd_tf.conversion.tflite import POSTPROCESSES, QUANTIZATIONS
from mkd_tf.options import at_least, option

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.conversion.facts import FileFacts
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

    def finish(self, content: bytes, facts: FileFacts) -> bytes:
        from mkd_tf.conversion.tflite.finishing import finish

        return finish(content, facts)

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
    score_threshold: str | float = option(
        AUTO,
        "Lowest score that the file returns; auto: the highest that costs at most 0.1 AP.",
        check=check_threshold,
    )
    max_detections: int = option(
        0,
        "The most that the file returns; 0: the fewest of 25, 50 and 100 that cost at most 0.1 AP.",
        check=at_least(0),
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

        options: Any = {"labels": labels, "on_progress": on_progress}
        return to_tflite(detector, self.quantization, calibration, self.postprocess, **options)

    def suppression(self) -> tuple[float | None, int | None] | None:
        return chosen_suppression(self.score_threshold, self.max_detections, self.postprocess != "raw")

    def companions(self, name: str, detector: Detector, content: bytes) -> Mapping[str, str]:
        del content
        from mkd_tf.conversion.tflite.metadata_writer import anchors_csv

        if self.postprocess != "raw":
            return {}
        return {f"{Path(name).stem}.anchors.csv": anchors_csv(detector.anchors)}
