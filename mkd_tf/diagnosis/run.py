"""The body of the program `diagnose`: measure every layer, report, export the worst in more bits."""

from pathlib import Path
from typing import Any

from rich.progress import Progress

from mkd_tf import schemas
from mkd_tf.conversion.base import import_extra
from mkd_tf.conversion.calibration import choose_calibration
from mkd_tf.deployment.context import ExportContext
from mkd_tf.deployment.export_run import export_files
from mkd_tf.deployment.manifest import FOLDER
from mkd_tf.deployment.measuring import check_classes
from mkd_tf.diagnosis.format import PACKAGE, DiagnoseOptions, Selective, import_quantizer
from mkd_tf.diagnosis.layer_errors import Diagnosis, diagnose
from mkd_tf.diagnosis.report import as_csv, as_json, plot
from mkd_tf.evaluation.progress import bar
from mkd_tf.files import write_bytes
from mkd_tf.schemas.deployment import DiagnosisFile


def _write(context: ExportContext, diagnosis: Diagnosis, split: str, facts: dict[str, Any]) -> None:
    """Writes the report; the role of a network other than the student stands before the files' names."""
    role = context.options.role
    stem = "diagnosis" if role == "student" else f"{role}_diagnosis"
    path = Path(context.options.workdir, FOLDER, stem)
    title = f"{role}: int8 against float, {diagnosis.images} images of {split}"
    write_bytes(path.with_suffix(".csv"), as_csv(diagnosis).encode("utf-8"))
    write_bytes(path.with_suffix(".png"), plot(diagnosis, title))
    schemas.write(path.with_suffix(".json"), {**as_json(diagnosis), **facts}, DiagnosisFile)


def diagnose_file(
    context: ExportContext, options: DiagnoseOptions
) -> tuple[Diagnosis, dict[str, dict[str, Any]]]:
    """Measures what int8 does to each layer; writes `export/diagnosis.json`, `.csv` and `.png`.

    With `precise_layers` it also exports `<role>_selective.tflite`, measured and recorded
    as every export. Errors are measured on the split `validation`, else on `train`.

    Args:
      context: the detector, its data set and the run-wide options.
      options: what is measured, and what is exported.

    Returns:
      The diagnosis, and what was measured of the exported file, by its name.

    Raises:
      MkdError: if the model cannot be read or converted, or a package of an extra is missing,
        when nothing is changed; or if the exported file lost more AP than allowed.
    """
    # Before the minutes that they would be missed after.
    import_extra("matplotlib", "the plot of a diagnosis", "plots")
    if options.precise_layers:
        import_quantizer()
    detector, dataset = context.detector, context.dataset
    if options.precise_layers:
        check_classes(detector, dataset)
    # Images that gave no ranges also show values outside of them.
    split = "validation" if "validation" in dataset.split_names else "train"
    choice: Any = {"count": options.images, "seed": context.options.seed, "fit": context.fit}
    chosen = choose_calibration(dataset.split(split), detector.image_size, **choice)
    with Progress(console=context.console, transient=True) as progress:
        shown = bar(progress, "quantising layer by layer")
        diagnosis = diagnose(detector, context.calibration, chosen.images, shown)
    packages = [PACKAGE] if options.precise_layers else []
    facts = context.facts(options, context.calibration, packages)
    _write(context, diagnosis, split, facts | {"split": split, "image_ids": list(chosen.image_ids)})
    if not options.precise_layers:
        return diagnosis, {}
    form = Selective(layers=tuple(diagnosis.worst(options.precise_layers)), precision=options.precision)
    return diagnosis, export_files(context, [form])
