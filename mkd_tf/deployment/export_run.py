"""The loop of every export: convert, run, measure, and only then accept."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.progress import Progress

from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.tflite.convert import Progress as OnProgress
from mkd_tf.conversion.tflite.convert import check_labels, needs_calibration
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.measuring import FileOptions, Measurement, origin_of, record_measured, refuse_rejected
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector


@dataclasses.dataclass(frozen=True)
class KindOptions(FileOptions, abc.ABC):
    """How a file of one kind is made and measured, beside what holds for every file.

    Attributes:
      quantization: one of the kind's own.
      packages: whose versions matter to this kind beside the usual ones.
    """

    quantization: str = "int8"
    packages: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def suffix(self) -> str:
        """The end of the file's name, as in `int8.tflite`."""

    def is_calibrated(self, detector: Detector) -> bool:
        """Whether the file takes ranges from images."""
        return needs_calibration(detector, self.quantization)

    @abc.abstractmethod
    def content(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        on_progress: OnProgress,
    ) -> bytes:
        """Converts the detector."""

    @abc.abstractmethod
    def measured(self, content: bytes, detector: Detector, measurement: Measurement) -> dict[str, Any]:
        """Runs the file; returns everything measured about it, its `figures` among that."""

    def companions(self, file: str, detector: Detector) -> Mapping[str, str]:
        """Returns further texts for the export folder, by file name."""
        del file, detector
        return {}


def export_files(
    source: str | Path,
    dataset: Dataset,
    workdir: str | Path,
    options: Sequence[KindOptions],
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
    limit, entries = options[0].max_ap_drop, {}
    with Progress(console=console, transient=True) as progress:
        measurement = Measurement(detector, dataset, options[0].split, progress)
        for option in options:
            calibration = None
            if option.is_calibrated(detector):
                calibration = option.calibration(dataset, detector.image_size)
            content = _converted(detector, calibration, option, shown, progress)
            entry = {
                **option.facts(origin, calibration, *option.packages),
                **option.measured(content, detector, measurement),
            }
            file = f"{name}_{option.suffix()}"
            companions = option.companions(file, detector)
            stored, entry = record_measured(
                workdir, file, content, shown, entry, limit, companions=companions
            )
            entries[stored] = entry
    refuse_rejected(workdir, entries, limit)
    return entries


def _converted(
    detector: Detector,
    calibration: Calibration | None,
    option: KindOptions,
    labels: Sequence[str],
    progress: Progress,
) -> bytes:
    count = None if calibration is None else len(calibration.images)
    task = progress.add_task(f"converting to {option.quantization}", total=count)

    def on_progress(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    content = option.content(detector, calibration, labels, on_progress)
    progress.update(task, total=1, completed=1)
    return content
