"""Tells which layers int8 hurts: `python -m export.diagnose --workdir=runs/quickstart`.

With `--precise_layers=4 --precision=int16` the four worst get int16 activations in
`export/student_selective.tflite`; see `conversion.diagnosis` and `conversion.selective`.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from mkd_tf import flags
from mkd_tf.conversion.calibration import PICTURES as CALIBRATION_PICTURES
from mkd_tf.conversion.diagnosing import DiagnosisOptions, diagnose_file
from mkd_tf.conversion.diagnosis import PICTURES
from mkd_tf.conversion.diagnosis_report import as_table
from mkd_tf.conversion.selective import PRECISIONS
from mkd_tf.conversion.source import read_labels, trained_model
from mkd_tf.data import DATASETS
from mkd_tf.evaluation.results import percent
from mkd_tf.training.workdir import lock


def main() -> None:
    """Measures, prints and exports; fails when the exported file was rejected."""
    workdir, role = flags.value("workdir"), flags.value("role")
    config, source = flags.stored_config(workdir), trained_model(workdir, role)
    option = DiagnosisOptions(
        pictures=flags.value("pictures"),
        calibration_pictures=flags.value("calibration_pictures"),
        seed=flags.value("seed"),
        fit=config.data.fit,
        precise_layers=flags.value("precise_layers"),
        precision=flags.value("precision"),
        max_ap_drop=flags.value("max_ap_drop"),
        split=flags.value("split"),
    )
    labels, console = read_labels(flags.value("labels")), Console()
    handle = lock(Path(workdir))
    try:
        dataset = DATASETS.build(
            flags.value("dataset") or config.data.dataset,
            on_bad_example=config.data.on_bad_example,
            data_dir=config.data.data_dir or None,
        )
        diagnosis, entries = diagnose_file(
            source, dataset, workdir, option, name=role, labels=labels, console=console
        )
    finally:
        handle.close()
    console.print(as_table(diagnosis, f"{workdir}/export, int8 against float"))
    if not entries:
        return
    other = "stretch" if config.data.fit == "letterbox" else "letterbox"
    table = Table(title=f"{option.precise_layers} layers in {option.precision}", title_justify="left")
    table.add_column("file", no_wrap=True)
    for column in ("kB", f"AP {config.data.fit}", f"AP {other}", "AP lost", "ms, 1 thread"):
        table.add_column(column, justify="right")
    for name, entry in entries.items():
        figures = (entry["AP"], entry[f"AP_{other}"], entry["AP_drop"], entry["latency_ms"])
        table.add_row(name, f"{entry['bytes'] / 1000:.1f}", *(percent(x, "{:.2f}") for x in figures))
    console.print(table)


def console() -> None:
    """The console script's entry."""
    flags.define("workdir", "runs/default", "Work directory of the training run.")
    flags.define("role", "student", "Which network: student, student_alone, guide or teacher.")
    flags.define("pictures", PICTURES, "On how many pictures errors are measured.")
    flags.define("precise_layers", 0, "Export a file with this many of the worst layers in --precision.")
    flags.define(
        "precision", "int16", f"{' or '.join(PRECISIONS)}, of the layers that --precise_layers takes."
    )
    flags.define(
        "calibration_pictures",
        CALIBRATION_PICTURES,
        "Training pictures that give the integer file its ranges.",
    )
    flags.define("seed", 0, "Of the choice of pictures.")
    flags.define("max_ap_drop", 2.0, "An exported file that loses more AP than this is rejected.")
    flags.define("split", "test", "On which AP of the exported file is measured.")
    flags.define("dataset", "", "Another data set than the run's, with the same classes.")
    flags.define("labels", "", "A text with the labels to show, a line per class; empty for the classes.")
    flags.run(main, "interrupted; earlier files are untouched")


if __name__ == "__main__":
    console()
