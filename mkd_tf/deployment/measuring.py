"""Measures exported files of every format, judges and records them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.base import Format
from mkd_tf.conversion.parity import IMAGES as PARITY_IMAGES
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import FOLDER, RESULT_KEYS, record
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.cost import latency_ms
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.operating_point import best_f1
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner, Runner
from mkd_tf.options import FITS
from mkd_tf.schemas.deployment import Threshold
from mkd_tf.schemas.training import CocoMetrics

THREADS = 1


def other_fit(fit: str) -> str:
    """Returns the fit that is measured beside `fit`."""
    return next(f for f in FITS if f != fit)


def files_table(title: str, entries: Mapping[str, Mapping[str, Any]], fit: str) -> Table:
    """Returns a table of `record_measured` entries by file name."""
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
        fail(
            "export",
            expected=f"a detector of the classes {', '.join(dataset.class_names)}, in this order",
            got=", ".join(detector.class_names),
            do="Give the data set that it was trained for.",
        )


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
        task = self._progress.add_task(f"reading {split} ({fit})", total=len(elements))
        return EvaluationSet.from_split(
            elements, self._size, fit, lambda done, total: self._progress.update(task, completed=done)
        )

    def detections(self, runner: Runner, ready: EvaluationSet) -> list[Detections]:
        """Returns what `runner` finds."""
        task = self._progress.add_task(f"detecting ({ready.fit})", total=len(ready))
        return ready.detections(
            runner, on_progress=lambda done, total: self._progress.update(task, completed=done)
        )

    def metrics(self, runner: Runner, fit: str) -> CocoMetrics:
        """Returns the COCO metrics of `runner` on the evaluation split."""
        ready = self.sets[fit]
        return coco_metrics(ready.truth, self.detections(runner, ready), self.class_names)

    def threshold(self, runner: Runner, fit: str) -> Threshold | None:
        """Returns the score threshold with the best F1 on the validation split."""
        if "validation" not in self._dataset.split_names:
            return None
        ready = self.evaluation_set("validation", fit)
        best = best_f1(ready.truth, self.detections(runner, ready))
        if best is None:
            return None
        return {"value": best[0], "f1": best[1], "chosen": "best F1 at IoU 0.5 on the validation split"}


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


def record_measured(
    workdir: str | Path,
    file: str,
    content: bytes,
    labels: Sequence[str],
    entry: Mapping[str, Any],
    max_ap_drop: float,
    *,
    companions: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Records a file with its verdict.

    Args:
      workdir: work directory of the run.
      file: its name, as in `student_int8.tflite`.
      content: its bytes.
      labels: of the classes.
      entry: its manifest entry, with `figures`.
      max_ap_drop: largest loss of AP, in points.
      companions: further texts for the export folder, by file name.

    Returns:
      The name of the written file, which ends in `.rejected` if it lost too much, and its
      entry in `results.json`.
    """
    drop = entry["AP_drop"]
    # A file without a measured AP is rejected.
    verdict = "rejected" if drop is None or drop > max_ap_drop else "accepted"
    path = record(Path(workdir), file, content, labels, entry, verdict, companions=companions)
    found = {key: entry[key] for key in RESULT_KEYS if key in entry}
    return path.name, found | {"bytes": len(content), "verdict": verdict}


def refuse_rejected(workdir: str | Path, entries: Mapping[str, dict[str, Any]], max_ap_drop: float) -> None:
    """Raises `MkdError` if a file of `record_measured` was rejected."""
    rejected = [file for file, entry in entries.items() if entry["verdict"] == "rejected"]
    if rejected:
        losses = ", ".join(f"{f} lost {percent(entries[f]['AP_drop'], '{:.2f}')} AP" for f in rejected)
        raise MkdError(
            f"{workdir}/{FOLDER}: {losses}; at most {max_ap_drop} is allowed. Calibrate on more "
            "images, choose another --quantization, or allow more with --max_ap_drop."
        )
