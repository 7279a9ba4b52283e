"""The body of the program `export.diagnose`: measure every layer, tell, export the worst in more bits."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import check_at_least, check_one_of, check_positive
from mkd_tf.conversion.calibration import Calibration, choose_calibration
from mkd_tf.conversion.tflite.convert import check_labels
from mkd_tf.conversion.tflite.format import tflite_figures
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import FOLDER
from mkd_tf.deployment.measuring import FileOptions, Measurement, origin_of, record_measured, refuse_rejected
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.diagnosis.layer_errors import IMAGES, Diagnosis, diagnose
from mkd_tf.diagnosis.report import as_csv, as_json, plot
from mkd_tf.diagnosis.selective import PACKAGE, PRECISIONS, import_quantizer, to_selective
from mkd_tf.files import write_bytes, write_json


@dataclasses.dataclass(frozen=True)
class DiagnosisOptions(FileOptions):
    """What is measured, and what becomes of it; `seed` is of the choice of both kinds of images.

    Attributes:
      images: on how many images errors are measured.
      precise_layers: how many of the worst layers a further file has in `precision`; 0 for none.
      precision: one of `PRECISIONS`.
    """

    images: int = IMAGES
    precise_layers: int = 0
    precision: str = "int16"

    def __post_init__(self):
        super().__post_init__()
        check_positive("images", self.images)
        check_at_least("precise_layers", self.precise_layers, 0)
        check_one_of("precision", self.precision, PRECISIONS)


def _images(detector: Detector, dataset: Dataset, option: DiagnosisOptions) -> tuple[str, Calibration]:
    """Returns the split on which errors are measured, and its images."""
    # Images that gave no ranges also show values outside of them.
    split = "validation" if "validation" in dataset.split_names else "train"
    chosen = choose_calibration(
        dataset.split(split), detector.image_size, count=option.images, seed=option.seed, fit=option.fit
    )
    return split, chosen


def _write(folder: Path, stem: str, diagnosis: Diagnosis, title: str, facts: dict[str, Any]) -> None:
    write_bytes(folder / f"{stem}.csv", as_csv(diagnosis).encode("utf-8"))
    write_bytes(folder / f"{stem}.png", plot(diagnosis, title))
    write_json(folder / f"{stem}.json", {**as_json(diagnosis), **facts})


def diagnose_file(
    source: str | Path,
    dataset: Dataset,
    workdir: str | Path,
    option: DiagnosisOptions,
    *,
    name: str = "student",
    labels: Sequence[str] | None = None,
    console: Console | None = None,
) -> tuple[Diagnosis, dict[str, dict[str, Any]]]:
    """Measures what int8 does to each layer; writes `export/diagnosis.json`, `.csv` and `.png`.

    With `precise_layers` it also exports `<name>_selective.tflite`, measured and recorded
    as every export.

    Args:
      source: the detector's `.keras` file.
      dataset: with splits `train` for calibration, `validation` for the images on which
        errors are measured (else `train`), and that of AP.
      workdir: work directory of the run.
      option: see there.
      name: the network's role; that of others than the student stands before the files' names.
      labels: names to show instead of the classes' own.
      console: where progress is shown.

    Returns:
      The diagnosis, and what was measured of the exported file, by its name.

    Raises:
      MkdError: if the model cannot be read or converted, or ai-edge-quantizer is missing,
        when nothing is changed; or if the exported file lost more AP than allowed.
    """
    if option.precise_layers:
        # Before the minutes that it would be missed after.
        import_quantizer()
    detector = load_detector(source)
    origin = origin_of(source)
    shown = check_labels(labels or detector.class_names, len(detector.class_names))
    calibration = option.calibration(dataset, detector.image_size)
    split, images = _images(detector, dataset, option)
    entries: dict[str, dict[str, Any]] = {}
    with Progress(console=console or Console(stderr=True), transient=True) as progress:
        measurement = None
        if option.precise_layers:
            # First: it refuses a data set of other classes.
            measurement = Measurement(detector, dataset, option.split, progress)
        task = progress.add_task("quantising layer by layer", total=None)
        diagnosis = diagnose(
            detector,
            calibration,
            images.images,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
        facts = option.facts(origin, calibration, *([PACKAGE] if option.precise_layers else []))
        title = f"{name}: int8 against float, {len(images.images)} images of {split}"
        measured_on = {"split": split, "image_ids": list(images.image_ids)}
        stem = "diagnosis" if name == "student" else f"{name}_diagnosis"
        _write(Path(workdir) / FOLDER, stem, diagnosis, title, facts | measured_on)
        if measurement is not None:
            layers = diagnosis.worst(option.precise_layers)
            content = to_selective(detector, calibration, layers, option.precision, labels=shown)
            facts |= {"layers": layers, "precision": option.precision}
            measured = tflite_figures(content, measurement, option.fit)
            stored, entry = record_measured(
                workdir,
                f"{name}_selective.tflite",
                content,
                shown,
                facts | measured,
                option.max_ap_drop,
            )
            entries[stored] = entry
    refuse_rejected(workdir, entries, option.max_ap_drop)
    return diagnosis, entries
