"""The body of the program `export.tflite`: what a TFLite file is made of, and what is measured of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import check_fraction, check_one_of
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.parity import differences, tflite_heads
from mkd_tf.conversion.tflite.convert import POSTPROCESSES, QUANTIZATIONS, Progress, convert
from mkd_tf.conversion.tflite.metadata_writer import anchors_csv
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.conversion.tflite.weights_report import weights_report
from mkd_tf.deployment.export_run import KindOptions, export_files
from mkd_tf.deployment.measuring import THREADS, Measurement, figures
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.detectors.base import Detector


@dataclasses.dataclass(frozen=True)
class ExportOptions(KindOptions):
    """How a TFLite file is made, beside what holds for every file.

    Attributes:
      quantization: one of `QUANTIZATIONS`.
      postprocess: `detection` or `raw`.
      score_threshold: lowest score that a `detection` file returns. The default is what AP needs;
        with that of the application, suppression in crowded images takes a fraction of the time.
    """

    postprocess: str = "detection"
    score_threshold: float = PostprocessConfig.score_threshold

    def __post_init__(self):
        super().__post_init__()
        check_one_of("quantization", self.quantization, QUANTIZATIONS)
        check_one_of("postprocess", self.postprocess, POSTPROCESSES)
        check_fraction("score_threshold", self.score_threshold)

    def suffix(self) -> str:
        """The end of the file's name: `int8.tflite`, `int8_raw.tflite`."""
        return f"{self.quantization}{'_raw' if self.postprocess == 'raw' else ''}.tflite"

    def content(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        on_progress: Progress,
    ) -> bytes:
        return convert(
            detector,
            self.quantization,
            calibration,
            self.postprocess,
            labels=labels,
            config=PostprocessConfig(score_threshold=self.score_threshold),
            on_progress=on_progress,
        )

    def measured(self, content: bytes, detector: Detector, measurement: Measurement) -> dict[str, Any]:
        del detector
        return tflite_figures(content, measurement, self.fit)

    def companions(self, file: str, detector: Detector) -> Mapping[str, str]:
        if self.postprocess != "raw":
            return {}
        return {f"{Path(file).stem}.anchors.csv": anchors_csv(detector.anchors)}


def tflite_figures(content: bytes, measurement: Measurement, fit: str) -> dict[str, Any]:
    """Runs a TFLite file; returns everything measured about it."""
    parity = differences(tflite_heads(content, measurement.images), measurement.float_heads)
    found = figures(TFLiteRunner(content, threads=THREADS), measurement, fit, parity)
    return {"weights": weights_report(content).summary(), **found}


export_tflite = export_files
