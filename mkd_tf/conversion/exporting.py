"""The body of the program `export.tflite`: convert, run, measure, and only then accept."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import MkdError, check_at_least, check_one_of, check_positive, fail
from mkd_tf.conversion.calibration import PICTURES, Calibration, choose_calibration
from mkd_tf.conversion.metadata import anchors_csv
from mkd_tf.conversion.parity import PICTURES as PARITY_PICTURES
from mkd_tf.conversion.parity import differences, keras_heads, tflite_heads
from mkd_tf.conversion.record import FOLDER, RESULT_KEYS, record, sha256, versions
from mkd_tf.conversion.tflite import CALIBRATED, POSTPROCESSES, QUANTIZATIONS, check_labels, convert
from mkd_tf.conversion.threshold import best_f1
from mkd_tf.data.base import Dataset
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.cost import latency_ms
from mkd_tf.evaluation.evaluator import FITS, EvaluationSet
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner, Runner
from mkd_tf.evaluation.tflite_runner import TFLiteRunner

THREADS = 1


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How a file is made and what it must reach.

    Attributes:
      quantization: one of `QUANTIZATIONS`.
      postprocess: `detection` or `raw`.
      calibration_pictures: how many training pictures give an integer file its ranges.
      seed: of their choice.
      max_ap_drop: largest loss of AP, in points, against the float model.
      split: on which AP is measured.
      fit: how the model was trained to see pictures, `stretch` or `letterbox`.
    """

    quantization: str = "int8"
    postprocess: str = "detection"
    calibration_pictures: int = PICTURES
    seed: int = 0
    max_ap_drop: float = 2.0
    split: str = "test"
    fit: str = "stretch"

    def __post_init__(self):
        check_one_of("quantization", self.quantization, QUANTIZATIONS)
        check_one_of("postprocess", self.postprocess, POSTPROCESSES)
        check_positive("calibration_pictures", self.calibration_pictures)
        check_at_least("max_ap_drop", self.max_ap_drop, 0)
        check_at_least("seed", self.seed, 0)
        check_one_of("fit", self.fit, FITS)

    def suffix(self) -> str:
        """The end of the file's name: `int8.tflite`, `int8_raw.tflite`."""
        return f"{self.quantization}{'_raw' if self.postprocess == 'raw' else ''}.tflite"


class Measurement:
    """The evaluation pictures in both fits, and what the float model reaches on them.

    Args:
      detector: the float model.
      dataset: with the splits.
      split: on which AP is measured.
      progress: where it is shown.
    """

    def __init__(self, detector: Detector, dataset: Dataset, split: str, progress: Progress):
        self._progress, self._dataset = progress, dataset
        self.class_names = dataset.class_names
        if tuple(detector.class_names) != tuple(dataset.class_names):
            fail(
                "export",
                expected=f"a detector of the classes {', '.join(dataset.class_names)}, in this order",
                got=", ".join(detector.class_names),
                do="Give the data set that it was trained for.",
            )
        self._size = detector.image_size
        self.sets = {fit: self.pictures(split, fit) for fit in FITS}
        self.images = next(self.sets[FITS[0]].batches(PARITY_PICTURES))
        runner = KerasRunner(detector)
        self.float_ap = {fit: self.metrics(runner, fit)["AP"] for fit in FITS}
        self.float_heads = keras_heads(detector, self.images)

    def pictures(self, split: str, fit: str) -> EvaluationSet:
        """Returns a split at the model's size."""
        elements = self._dataset.split(split)
        task = self._progress.add_task(f"reading {split} ({fit})", total=len(elements))
        return EvaluationSet.from_split(
            elements, self._size, fit, lambda done, total: self._progress.update(task, completed=done)
        )

    def detections(self, runner: Runner, ready: EvaluationSet) -> list:
        """Returns what `runner` finds."""
        task = self._progress.add_task(f"detecting ({ready.fit})", total=len(ready))
        return ready.detections(
            runner, on_progress=lambda done, total: self._progress.update(task, completed=done)
        )

    def metrics(self, runner: Runner, fit: str) -> dict[str, Any]:
        """Returns the COCO metrics of `runner` on the evaluation split."""
        ready = self.sets[fit]
        return coco_metrics(ready.truth, self.detections(runner, ready), self.class_names)

    def threshold(self, runner: Runner, fit: str) -> dict[str, Any] | None:
        """Returns the score threshold with the best F1 on the validation split."""
        if "validation" not in self._dataset.split_names:
            return None
        ready = self.pictures("validation", fit)
        best = best_f1(ready.truth, self.detections(runner, ready))
        if best is None:
            return None
        return {"value": best[0], "f1": best[1], "chosen": "best F1 at IoU 0.5 on the validation split"}


def _calibration(detector: Detector, dataset: Dataset, options: ExportOptions) -> Calibration | None:
    if options.quantization not in CALIBRATED:
        return None
    count, seed, fit = options.calibration_pictures, options.seed, options.fit
    return choose_calibration(dataset, detector.image_size, count=count, seed=seed, fit=fit)


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
        on_progress=on_progress,
    )
    progress.update(task, total=1, completed=1)
    return content


def _measured(content: bytes, measurement: Measurement, fit: str) -> dict[str, Any]:
    """Runs the file; returns everything measured about it."""
    runner = TFLiteRunner(content, threads=THREADS)
    other = next(f for f in FITS if f != fit)
    ap, other_ap = (measurement.metrics(runner, f)["AP"] for f in (fit, other))
    expected = measurement.float_ap[fit]
    return {
        "AP": ap,
        f"AP_{other}": other_ap,
        "AP_drop": None if ap is None or expected is None else expected - ap,
        "AP_float": {f: measurement.float_ap[f] for f in (fit, other)},
        "latency_ms": latency_ms(runner.invoke, measurement.images[0]),
        "threads": THREADS,
        "parity": differences(tflite_heads(content, measurement.images), measurement.float_heads),
        "recommended_score_threshold": measurement.threshold(runner, fit),
    }


def _verdict(entry: dict[str, Any], option: ExportOptions) -> str:
    # What could not be measured was not shown to be good.
    drop = entry["AP_drop"]
    return "rejected" if drop is None or drop > option.max_ap_drop else "accepted"


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
    shown = check_labels(labels or detector.class_names, len(detector.class_names))
    origin = {"file": str(source), "sha256": sha256(Path(source).read_bytes())}
    entries: dict[str, dict[str, Any]] = {}
    with Progress(console=console, transient=True) as progress:
        measurement = Measurement(detector, dataset, options[0].split, progress)
        for option in options:
            calibration = _calibration(detector, dataset, option)
            content = _converted(detector, calibration, option, shown, progress)
            entry = {
                "flags": dataclasses.asdict(option),
                "source": origin,
                "versions": versions(),
                "calibration": [] if calibration is None else list(calibration.picture_ids),
                **_measured(content, measurement, option.fit),
            }
            file, beside = f"{name}_{option.suffix()}", {}
            if option.postprocess == "raw":
                beside = {f"{Path(file).stem}.anchors.csv": anchors_csv(detector.anchors)}
            verdict = _verdict(entry, options[0])
            path = record(Path(workdir), file, content, shown, entry, verdict, beside=beside)
            entries[path.name] = {k: entry[k] for k in RESULT_KEYS if k in entry}
            entries[path.name] |= {"bytes": len(content), "verdict": verdict}
    rejected = [file for file, entry in entries.items() if entry["verdict"] == "rejected"]
    if rejected:
        losses = ", ".join(f"{f} lost {percent(entries[f]['AP_drop'], '{:.2f}')} AP" for f in rejected)
        raise MkdError(
            f"{workdir}/{FOLDER}: {losses}; at most {options[0].max_ap_drop} is allowed. Calibrate on more "
            "pictures, choose another --quantization, or allow more with --max_ap_drop."
        )
    return entries
