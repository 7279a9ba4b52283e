"""Exports a trained student: `python -m export.tflite --workdir=runs/quickstart --quantization=int8`.

The file is run before it is accepted; see `conversion.exporting`.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from mkd_tf import flags
from mkd_tf.conversion.calibration import PICTURES
from mkd_tf.conversion.exporting import ExportOptions, export_tflite
from mkd_tf.conversion.source import read_labels, trained_model
from mkd_tf.conversion.tflite import POSTPROCESSES, QUANTIZATIONS
from mkd_tf.data import DATASETS
from mkd_tf.training.workdir import lock


def main() -> None:
    """Exports and prints what was measured; fails when a file was rejected."""
    workdir, role = flags.value("workdir"), flags.value("role")
    config, source = flags.stored_config(workdir), trained_model(workdir, role)
    options = [
        ExportOptions(
            quantization=quantization.strip(),
            postprocess=flags.value("postprocess"),
            calibration_pictures=flags.value("calibration_pictures"),
            seed=flags.value("seed"),
            max_ap_drop=flags.value("max_ap_drop"),
            split=flags.value("split"),
            fit=config.data.fit,
        )
        for quantization in flags.value("quantization").split(",")
    ]
    labels, console = read_labels(flags.value("labels")), Console()
    handle = lock(Path(workdir))
    try:
        dataset = DATASETS.build(
            flags.value("dataset") or config.data.dataset,
            on_bad_example=config.data.on_bad_example,
            data_dir=config.data.data_dir or None,
        )
        entries = export_tflite(source, dataset, workdir, options, name=role, labels=labels, console=console)
    finally:
        handle.close()
    other = "stretch" if config.data.fit == "letterbox" else "letterbox"
    table = Table(title=f"{workdir}/export, AP on {flags.value('split')}", title_justify="left")
    table.add_column("file", no_wrap=True)
    for column in ("kB", f"AP {config.data.fit}", f"AP {other}", "AP lost", "ms, 1 thread"):
        table.add_column(column, justify="right")
    for name, entry in entries.items():
        figures = (entry["AP"], entry[f"AP_{other}"], entry["AP_drop"], entry["latency_ms"])
        table.add_row(name, f"{entry['bytes'] / 1000:.1f}", *(f"{x:.2f}" for x in figures))
    console.print(table)


def console() -> None:
    """The console script `mkd-export`."""
    flags.define("workdir", "runs/default", "Work directory of the training run.")
    flags.define("role", "student", "Which role's network, as student or teacher.")
    flags.define("quantization", "int8", f"One or several, comma-separated: {', '.join(QUANTIZATIONS)}.")
    flags.define("postprocess", "detection", f"{' or '.join(POSTPROCESSES)}: with detections, or raw heads.")
    flags.define("calibration_pictures", PICTURES, "Training pictures that give an integer file its ranges.")
    flags.define("seed", 0, "Of the choice of calibration pictures.")
    flags.define("max_ap_drop", 2.0, "A file that loses more AP than this is rejected.")
    flags.define("split", "test", "On which AP is measured.")
    flags.define("dataset", "", "Another data set than the run's, with the same classes.")
    flags.define("labels", "", "A text with the labels to show, a line per class; empty for the classes.")
    flags.run(main, "interrupted; earlier files are untouched")


if __name__ == "__main__":
    console()
