"""Tells which layers int8 hurts: `python -m export.diagnose --workdir=runs/quickstart`.

With `--precise_layers=4 --precision=int16` the four worst get int16 activations in
`export/student_selective.tflite`; see `diagnosis.layer_errors` and `diagnosis.selective`.
"""

from mkd_tf import export_job, flags
from mkd_tf.diagnosis.layer_errors import IMAGES
from mkd_tf.diagnosis.report import as_table
from mkd_tf.diagnosis.run import DiagnosisOptions, diagnose_file
from mkd_tf.diagnosis.selective import PRECISIONS


def main() -> None:
    """Measures, prints and exports; fails when the exported file was rejected."""
    job = export_job.Job()
    option = DiagnosisOptions(
        images=flags.value("images"),
        precise_layers=flags.value("precise_layers"),
        precision=flags.value("precision"),
        **job.options,
    )
    with job.dataset() as dataset:
        diagnosis, entries = diagnose_file(
            job.source, dataset, job.workdir, option, name=job.role, labels=job.labels, console=job.console
        )
    job.console.print(as_table(diagnosis, f"{job.workdir}/export, int8 against float"))
    if entries:
        job.show(f"{option.precise_layers} layers in {option.precision}", entries)


def console() -> None:
    """The console script `mkd-diagnose`."""
    export_job.define()
    flags.define("images", IMAGES, "On how many images errors are measured.")
    flags.define("precise_layers", 0, "Export a file with this many of the worst layers in --precision.")
    flags.define(
        "precision", "int16", f"{' or '.join(PRECISIONS)}, of the layers that --precise_layers takes."
    )
    flags.run(main, "interrupted; earlier files are untouched")


if __name__ == "__main__":
    console()
