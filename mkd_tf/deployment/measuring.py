"""Measures exported files of every format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from rich.table import Table

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.base import Format, Heads
from mkd_tf.conversion.parity import IMAGES as PARITY_IMAGES
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import FOLDER
from mkd_tf.deployment.shipping import Found
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
from mkd_tf.schemas.deployment import Difference

THREADS = 1
SHOWN = 0.2
"""Scores from which the error against the float model is told: lower ones are not shown."""


def other_fit(fit: str) -> str:
    """Returns the fit that is measured beside `fit`."""
    return next(f for f in FITS if f != fit)


def files_table(title: str, entries: Mapping[str, Mapping[str, Any]], fit: str) -> Table:
    """Returns a table of `export_run.export_files`' entries by file name."""
    table = Table(title=title, title_justify="left")
    table.add_column("file", no_wrap=True)
    other = other_fit(fit)
    table.caption = f"{fit} / {other}; score error: mean, of scores above {SHOWN} in the float model"
    for column in ("kB", "AP", "AP lost", "score error", "ms, 1 thread"):
        table.add_column(column, justify="right")

    def pair(first: float | None, second: float | None, form: str = "{:.2f}") -> str:
        return f"{percent(first, form)} / {percent(second, form)}"

    for name, entry in entries.items():
        first, second = (entry["score_error"][f] for f in (fit, other))
        table.add_row(
            name,
            f"{entry['bytes'] / 1000:.1f}",
            pair(entry["AP"], entry[f"AP_{other}"]),
            pair(entry["AP_drop"], entry[f"AP_drop_{other}"]),
            pair(first and first["mean"], second and second["mean"], "{:.4f}"),
            percent(entry["latency_ms"], "{:.2f}"),
        )
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
        self.images = {fit: next(self.sets[fit].batches(PARITY_IMAGES)) for fit in FITS}
        runner = KerasRunner(detector)
        self.float_ap = {fit: self.found(runner, fit).ap for fit in FITS}
        self.float_heads = {fit: keras_heads(detector, self.images[fit]) for fit in FITS}

    def evaluation_set(self, split: str, fit: str) -> EvaluationSet:
        """Returns a split at the model's size."""
        elements = self._dataset.split(split)
        shown = bar(self._progress, f"reading {split} ({fit})", len(elements))
        return EvaluationSet(elements, self._size, fit, shown)

    def detections(self, runner: Runner, ready: EvaluationSet) -> list[Detections]:
        """Returns what `runner` finds."""
        shown = bar(self._progress, f"detecting ({ready.fit})", len(ready))
        return ready.detections(runner, on_progress=shown)

    def found(self, runner: Runner, fit: str) -> Found:
        """Returns what `runner` finds in the evaluation split, and its AP."""
        ready = self.sets[fit]
        detections = self.detections(runner, ready)
        ap = coco_metrics(ready.truth, detections, self.class_names)["AP"]
        return Found(ready.truth, detections, ap)

    def validated(self, runner: Runner, fit: str) -> Found | None:
        """Returns what `runner` finds in the validation split; None where there is none."""
        if "validation" not in self._dataset.split_names:
            self._progress.console.print(
                f"no validation split: no score threshold is recommended, {DEFAULT_SCORE} is the default"
            )
            return None
        ready = self.evaluation_set("validation", fit)
        detections = self.detections(runner, ready)
        ap = coco_metrics(ready.truth, detections, self.class_names)["AP"]
        return Found(ready.truth, detections, ap)


def _drop(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def score_error(found: Heads, expected: Heads) -> Difference | None:
    """Returns the largest and the mean absolute difference of scores above `SHOWN` in `expected`."""
    shown = expected["scores"] > SHOWN
    apart = np.abs(found["scores"] - expected["scores"])[shown]
    return {"max": float(apart.max()), "mean": float(apart.mean())} if len(apart) else None


def figures(
    form: Format, content: bytes, measurement: Measurement, fit: str
) -> tuple[dict[str, Any], list[Found]]:
    """Runs a file; returns what is measured of every file, in the keys of the manifest.

    Args:
      form: the file's format.
      content: the file's, with the lowest threshold.
      measurement: of the float model.
      fit: how the model was trained to see images; AP in the other fit is measured too.

    Returns:
      The figures, and what the file finds: in the evaluation split in this fit and in the other, and
      in the validation split, if there is one.
    """
    other = other_fit(fit)
    heads = {
        f: (
            form.heads(content, measurement.images[f]),
            form.expected_heads(measurement.detector, measurement.float_heads[f]),
        )
        for f in FITS
    }
    runner = form.runner(content, threads=THREADS)
    sets = [measurement.found(runner, f) for f in (fit, other)]
    validated = measurement.validated(runner, fit)
    sets += [] if validated is None else [validated]
    point = validated and operating_point(validated.truth, validated.detections, measurement.class_names)
    entry = {
        "AP": sets[0].ap,
        f"AP_{other}": sets[1].ap,
        "AP_drop": _drop(measurement.float_ap[fit], sets[0].ap),
        f"AP_drop_{other}": _drop(measurement.float_ap[other], sets[1].ap),
        "AP_float": {f: measurement.float_ap[f] for f in (fit, other)},
        "parity": differences(*heads[FITS[0]]),
        "score_error": {f: score_error(*pair) for f, pair in heads.items()},
        "recommended_score_threshold": point,
    }
    return entry, sets


def latency(form: Format, content: bytes, measurement: Measurement, fit: str) -> dict[str, Any]:
    """Returns how long the file that ships takes for one image."""
    runner = form.runner(content, threads=THREADS)
    return {"latency_ms": latency_ms(runner.invoke, measurement.images[fit][0]), "threads": THREADS}


def loses_too_much(entry: Mapping[str, Any], max_ap_drop: float) -> bool:
    """Returns whether a file lost more AP than allowed in one of the fits, or was not measured."""
    drops = [entry[key] for key in entry if key.startswith("AP_drop")]
    # A file without a measured AP is rejected.
    return any(drop is None or drop > max_ap_drop for drop in drops)


def _loss(entry: Mapping[str, Any]) -> str:
    """Returns the larger loss of AP, and in which fit where that is not the trained one."""
    other = next((f for f in FITS if f"AP_drop_{f}" in entry), "")
    drops = entry["AP_drop"], entry.get(f"AP_drop_{other}")
    elsewhere = None not in drops and drops[1] > drops[0] + 0.005
    shown = percent(drops[1] if elsewhere else drops[0], "{:.2f}")
    return f"{shown} AP" + (f" in images fitted by {other}" if elsewhere else "")


def refuse_rejected(workdir: str | Path, entries: Mapping[str, dict[str, Any]], max_ap_drop: float) -> None:
    """Raises `MkdError` if a file of `export_run.export_files` was rejected."""
    rejected = [file for file, entry in entries.items() if entry["verdict"] == "rejected"]
    if rejected:
        losses = ", ".join(f"{f} lost {_loss(entries[f])}" for f in rejected)
        raise MkdError(
            f"{workdir}/{FOLDER}: {losses}; at most {max_ap_drop} is allowed. Calibrate on more "
            "images, choose another --quantization, or allow more with --max_ap_drop."
        )
