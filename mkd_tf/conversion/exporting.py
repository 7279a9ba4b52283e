"""The body of the program `export.tflite`: convert, run, measure, and only then accept."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import check_fraction, check_one_of
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.measuring import (
    THREADS,
    FileOptions,
    Measurement,
    figures,
    origin_of,
    record_measured,
    refuse_rejected,
)
from mkd_tf.conversion.metadata import anchors_csv
from mkd_tf.conversion.parity import differences, tflite_heads
from mkd_tf.conversion.tflite import POSTPROCESSES, QUANTIZATIONS, check_labels, convert, needs_calibration
from mkd_tf.conversion.weights_report import weights_report
from mkd_tf.data.base import Dataset
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.tflite_runner import TFLiteRunner
from mkd_tf.postprocess import PostprocessConfig


@dataclasses.dataclass(frozen=True)
class ExportOptions(FileOptions):
    """How a TFLite file is made, beside what holds for every file.

    Attributes:
      quantization: one of `QUANTIZATIONS`.
      postprocess: `detection` or `raw`.
      score_threshold: lowest score that a `detection` file returns. The default is what AP needs;
        with that of the application, suppression in crowded pictures takes a fraction of the time.
    """

    quantization: str = "int8"
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


def _converted(
    detector: Detector,
    calibration: Calibration | None,
    option: ExportOptions,
    labels: Sequence[str],
    progress: Progress,
) -> bytes:
    count = None if calibration is None else len(calibration.images)
    task = progress.add_task(f"converting to {option.quantization}", total=count)

    def on_progress(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    content = convert(
        detector,
        option.quantization,
        calibration,
        option.postprocess,
        labels=labels,
        config=PostprocessConfig(score_threshold=option.score_threshold),
        on_progress=on_progress,
    )
    progress.update(task, total=1, completed=1)
    return content


def measured(content: bytes, measurement: Measurement, fit: str) -> dict[str, Any]:
    """Runs the file; returns everything measured about it."""
    parity = differences(tflite_heads(content, measurement.images), measurement.float_heads)
    return figures(TFLiteRunner(content, threads=THREADS), measurement, fit, parity)


def measure_and_record(
    workdir: str | Path,
    file: str,
    content: bytes,
    labels: Sequence[str],
    facts: Mapping[str, Any],
    measurement: Measurement,
    fit: str,
    max_ap_drop: float,
    *,
    beside: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Runs a file, measures it and records it with its verdict.

    Args:
      workdir: work directory of the run.
      file: its name, as in `student_int8.tflite`.
      content: its bytes.
      labels: of the classes.
      facts: what the manifest is to say beside what is measured.
      measurement: the pictures, and what the float model reaches on them.
      fit: how the model was trained to see pictures.
      max_ap_drop: largest loss of AP, in points.
      beside: further texts for the export folder, by file name.

    Returns:
      The name it got, which ends in `.rejected` if it lost too much, and what `results.json`
      says of it.
    """
    entry = {**facts, "weights": weights_report(content).summary(), **measured(content, measurement, fit)}
    return record_measured(workdir, file, content, labels, entry, max_ap_drop, beside=beside)


def export_tflite(
    source: str | Path,
    dataset: Dataset,
    workdir: str | Path,
    options: Sequence[ExportOptions],
    *,
    name: str = "student",
    labels: Sequence[str] | None = None,
    console: Console | None = None,
) -> dict[str, dict[str, Any]]:
    """Exports a detector into `workdir/export`, one file for each of `options`.

    Args:
      source: the detector's `.keras` file.
      dataset: with splits `train` for calibration and that of AP; `validation` for the
        recommended threshold.
      workdir: work directory of the run.
      options: the files wanted; the split and the allowed loss of the first hold for all.
      name: the first part of the files' names.
      labels: names to show instead of the classes' own.
      console: where progress is shown.

    Returns:
      What was measured, by file name.

    Raises:
      MkdError: if the model cannot be read or converted, when nothing is changed; or if
        a file lost more AP than allowed, when it is left as `<name>.rejected`.
    """
    console = console or Console(stderr=True)
    detector = load_detector(source)
    origin = origin_of(source)
    shown = check_labels(labels or detector.class_names, len(detector.class_names))
    entries: dict[str, dict[str, Any]] = {}
    with Progress(console=console, transient=True) as progress:
        measurement = Measurement(detector, dataset, options[0].split, progress)
        for option in options:
            calibration = None
            if needs_calibration(detector, option.quantization):
                calibration = option.calibration(dataset, detector.image_size)
            content = _converted(detector, calibration, option, shown, progress)
            facts = option.facts(origin, calibration)
            file, beside, limit = f"{name}_{option.suffix()}", {}, options[0].max_ap_drop
            if option.postprocess == "raw":
                beside = {f"{Path(file).stem}.anchors.csv": anchors_csv(detector.anchors)}
            stored, entry = measure_and_record(
                workdir, file, content, shown, facts, measurement, option.fit, limit, beside=beside
            )
            entries[stored] = entry
    refuse_rejected(workdir, entries, options[0].max_ap_drop)
    return entries
