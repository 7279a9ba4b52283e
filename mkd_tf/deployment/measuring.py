"""Measures exported files of every format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.base import Format
from mkd_tf.conversion.parity import IMAGES as PARITY_IMAGES
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import FOLDER
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.cost import latency_ms
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.operating_point import operating_point
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner, Runner
from mkd_tf.options import DEFAULT_SCORE, FITS
from mkd_tf.schemas.training import CocoMetrics, OperatingPoint

THREADS = 1


def other_fit(fit: str) -> str:
    """Returns the fit that is measured beside `fit`."""
    return next(f for f in FITS if f != fit)


def files_table(title: str, entries: Mapping[str, Mapping[str, Any]], fit: str) -> Table:
    """Returns a table of `export_run.export_files`' entries by file name."""
    table = Table(title=title, title_justify="left")
    table.add_column("file", no_wrap=True)
    for column in ("kB", f"AP {fit}", f"AP {other_fit(fit)}", "AP lost", "ms, 1 thread"):
        table.add_column(column, justify="right")
    for name, entry in entries.items():
        shown = (entry["AP"], entry[f"AP_{other_fit(fit)}"], entry["AP_drop"], entry["latency_ms"])
        table.add_row(name, f"{entry['bytes'] / 1000:.1f}", *(percent(x, "{:.2f}") for x in shown))
    return table


def check_classes(detector: Detector, dataset: Dataset) -> None:
    """Raises `MkdError` unless the detector has the classes of the data set, in their order."""
    if tuple(detector.class_names) != tuple(dataset.class_names):
        expected = f"a detector of the classes {', '.join(dataset.class_names)}, in this order"
        do = "Give the data set that it was trained for."
        fail("export", expected=expected, got=", ".join(detector.class_names), do=do)


class Measurement:
    """The evaluation images in both fits, and AP and heads of the float model on them.

    Args:
      detector: the float model.
      dataset: with the splits.
      split: on which AP is measured.
      progress: shows each step.
    """

    def __init__(self, detector: Detector, dataset: Dataset, split: str, progress: Progress):
        self._progress, self._dataset, self.detector = progress, dataset, detector
        self.class_names = dataset.class_names
        check_classes(detector, dataset)
        self._size = detector.image_size
        self.sets = {fit: self.evaluation_set(split, fit) for fit in FITS}
        self.images = next(self.sets[FITS[0]].batches(PARITY_IMAGES))
        runner = KerasRunner(detector)
        self.float_ap = {fit: self.metrics(runner, fit)["AP"] for fit in FITS}
        self.float_heads = keras_heads(detector, self.images)

    def evaluation_set(self, split: str, fit: str) -> EvaluationSet:
        """Returns a split at the model's size."""
        elements = self._dataset.split(split)
        shown = bar(self._progress, f"reading {split} ({fit})", len(elements))
        return EvaluationSet(elements, self._size, fit, shown)

    def detections(self, runner: Runner, ready: EvaluationSet) -> list[Detections]:
        """Returns what `runner` finds."""
        shown = bar(self._progress, f"detecting ({ready.fit})", len(ready))
        return ready.detections(runner, on_progress=shown)

    def metrics(self, runner: Runner, fit: str) -> CocoMetrics:
        """Returns the COCO metrics of `runner` on the evaluation split."""
        ready = self.sets[fit]
        return coco_metrics(ready.truth, self.detections(runner, ready), self.class_names)

    def threshold(self, runner: Runner, fit: str) -> OperatingPoint | None:
        """Returns the operating point on the validation split; None where there is none."""
        if "validation" not in self._dataset.split_names:
            self._progress.console.print(
                f"no validation split: no score threshold is recommended, {DEFAULT_SCORE} is the default"
            )
            return None
        ready = self.evaluation_set("validation", fit)
        return operating_point(ready.truth, self.detections(runner, ready), self.class_names)


def figures(form: Format, content: bytes, measurement: Measurement, fit: str) -> dict[str, Any]:
    """Runs a file; returns what is measured of every file, in the keys of the manifest.

    Args:
      form: the file's format.
      content: the file's.
      measurement: of the float model.
      fit: how the model was trained to see images; AP in the other fit is measured too.
    """
    expected = form.expected_heads(measurement.detector, measurement.float_heads)
    parity = differences(form.heads(content, measurement.images), expected)
    runner, other = form.runner(content, threads=THREADS), other_fit(fit)
    ap, other_ap = (measurement.metrics(runner, f)["AP"] for f in (fit, other))
    float_ap = measurement.float_ap[fit]
    return {
        "AP": ap,
        f"AP_{other}": other_ap,
        "AP_drop": None if ap is None or float_ap is None else float_ap - ap,
        "AP_float": {f: measurement.float_ap[f] for f in (fit, other)},
        "latency_ms": latency_ms(runner.invoke, measurement.images[0]),
        "threads": THREADS,
        "parity": parity,
        "recommended_score_threshold": measurement.threshold(runner, fit),
    }


def refuse_rejected(workdir: str | Path, entries: Mapping[str, dict[str, Any]], max_ap_drop: float) -> None:
    """Raises `MkdError` if a file of `export_run.export_files` was rejected."""
    rejected = [file for file, entry in entries.items() if entry["verdict"] == "rejected"]
    if rejected:
        losses = ", ".join(f"{f} lost {percent(entries[f]['AP_drop'], '{:.2f}')} AP" for f in rejected)
        raise MkdError(
            f"{workdir}/{FOLDER}: {losses}; at most {max_ap_drop} is allowed. Calibrate on more "
            "images, choose another --quantization, or allow more with --max_ap_drop."
        )
