"""What is measured about an exported file of any kind, the verdict on it, and its record."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.progress import Progress
from rich.table import Table

from mkd_tf.checks import MkdError, check_at_least, check_one_of, check_positive, fail
from mkd_tf.conversion.calibration import IMAGES as CALIBRATION_IMAGES
from mkd_tf.conversion.calibration import Calibration, choose_calibration
from mkd_tf.conversion.parity import IMAGES as PARITY_IMAGES
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import FOLDER, RESULT_KEYS, record, sha256, versions
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.cost import latency_ms
from mkd_tf.evaluation.evaluator import FITS, EvaluationSet
from mkd_tf.evaluation.operating_point import best_f1
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner, Runner

THREADS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What a file of any kind is calibrated on and what it must reach.

    Attributes:
      calibration_images: how many training images give an integer file its ranges.
      seed: of their choice.
      max_ap_drop: largest loss of AP, in points, against the float model.
      split: on which AP is measured.
      fit: how the model was trained to see images, `stretch` or `letterbox`.
    """

    calibration_images: int = CALIBRATION_IMAGES
    seed: int = 0
    max_ap_drop: float = 2.0
    split: str = "test"
    fit: str = "stretch"

    def __post_init__(self):
        check_positive("calibration_images", self.calibration_images)
        check_at_least("seed", self.seed, 0)
        check_at_least("max_ap_drop", self.max_ap_drop, 0)
        check_one_of("fit", self.fit, FITS)

    def calibration(self, dataset: Dataset, image_size: int) -> Calibration:
        """Chooses the calibration images."""
        return choose_calibration(
            dataset, image_size, count=self.calibration_images, seed=self.seed, fit=self.fit
        )

    def facts(
        self, origin: Mapping[str, str], calibration: Calibration | None, *packages: str
    ) -> dict[str, Any]:
        """Returns what the manifest says of how a file was made.

        Args:
          origin: of the detector, as `origin_of` tells.
          calibration: the images that gave it its ranges, if any did.
          packages: whose versions matter beside the usual ones.
        """
        return {
            "flags": dataclasses.asdict(self),
            "source": dict(origin),
            "versions": versions(*packages),
            "calibration": [] if calibration is None else list(calibration.image_ids),
        }


def origin_of(source: str | Path) -> dict[str, str]:
    """Returns the name and hash of a detector's file; to be asked for when it is loaded."""
    return {"file": str(source), "sha256": sha256(Path(source).read_bytes())}


def other_fit(fit: str) -> str:
    """Returns the fit that is measured beside `fit`."""
    return next(f for f in FITS if f != fit)


def files_table(title: str, entries: Mapping[str, Mapping[str, Any]], fit: str) -> Table:
    """Returns the table of what was measured of files, by their names."""
    table = Table(title=title, title_justify="left")
    table.add_column("file", no_wrap=True)
    for column in ("kB", f"AP {fit}", f"AP {other_fit(fit)}", "AP lost", "ms, 1 thread"):
        table.add_column(column, justify="right")
    for name, entry in entries.items():
        shown = (entry["AP"], entry[f"AP_{other_fit(fit)}"], entry["AP_drop"], entry["latency_ms"])
        table.add_row(name, f"{entry['bytes'] / 1000:.1f}", *(percent(x, "{:.2f}") for x in shown))
    return table


class Measurement:
    """The evaluation images in both fits, and what the float model reaches on them.

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
        ready = self.evaluation_set("validation", fit)
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
    other = other_fit(fit)
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
    companions: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Records a file with its verdict.

    Args:
      workdir: work directory of the run.
      file: its name, as in `student_int8.tflite`.
      content: its bytes.
      labels: of the classes.
      entry: what the manifest is to say of it, its `figures` among that.
      max_ap_drop: largest loss of AP, in points.
      companions: further texts for the export folder, by file name.

    Returns:
      The name it got, which ends in `.rejected` if it lost too much, and what `results.json`
      says of it.
    """
    drop = entry["AP_drop"]
    # What could not be measured was not shown to be good.
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
