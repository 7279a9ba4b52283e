"""What is measured about an exported file of any kind, the verdict on it, and its record."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import Progress

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.parity import PICTURES as PARITY_PICTURES
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.conversion.record import FOLDER, RESULT_KEYS, record
from mkd_tf.conversion.threshold import best_f1
from mkd_tf.data.base import Dataset
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.cost import latency_ms
from mkd_tf.evaluation.evaluator import FITS, EvaluationSet
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner, Runner

THREADS = 1


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


class FileRunner(Runner, Protocol):
    """A runner of a file, which `latency_ms` can time."""

    def invoke(self, images: np.ndarray) -> Any: ...


def figures(
    runner: FileRunner, measurement: Measurement, fit: str, parity: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what is measured about a file of any kind, and its `parity` with the float model."""
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
        "parity": dict(parity),
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
    beside: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Records a file with its verdict; `entry` holds its `figures`, the rest as in `measure_and_record`."""
    drop = entry["AP_drop"]
    # What could not be measured was not shown to be good.
    verdict = "rejected" if drop is None or drop > max_ap_drop else "accepted"
    path = record(Path(workdir), file, content, labels, entry, verdict, beside=beside)
    found = {key: entry[key] for key in RESULT_KEYS if key in entry}
    return path.name, found | {"bytes": len(content), "verdict": verdict}


def refuse_rejected(workdir: str | Path, entries: Mapping[str, dict[str, Any]], max_ap_drop: float) -> None:
    """Raises `MkdError` if a file of `measure_and_record` was rejected."""
    rejected = [file for file, entry in entries.items() if entry["verdict"] == "rejected"]
    if rejected:
        losses = ", ".join(f"{f} lost {percent(entries[f]['AP_drop'], '{:.2f}')} AP" for f in rejected)
        raise MkdError(
            f"{workdir}/{FOLDER}: {losses}; at most {max_ap_drop} is allowed. Calibrate on more "
            "pictures, choose another --quantization, or allow more with --max_ap_drop."
        )
