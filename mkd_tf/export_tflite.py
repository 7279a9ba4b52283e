"""Exports a trained student: `python -m export.tflite --workdir=runs/quickstart --quantization=int8`.

The file is run before it is accepted; see `conversion.tflite.format`.
"""

from mkd_tf import export_job, flags
from mkd_tf.conversion.tflite.convert import POSTPROCESSES, QUANTIZATIONS
from mkd_tf.conversion.tflite.format import ExportOptions, export_tflite
from mkd_tf.detection.postprocess import PostprocessConfig


def main() -> None:
    """Exports and prints what was measured; fails when a file was rejected."""
    job = export_job.Job()
    options = [
        ExportOptions(
            quantization=quantization.strip(),
            postprocess=flags.value("postprocess"),
            score_threshold=flags.value("score_threshold"),
            **job.options,
        )
        for quantization in flags.value("quantization").split(",")
    ]
    with job.dataset() as dataset:
        entries = export_tflite(
            job.source, dataset, job.workdir, options, name=job.role, labels=job.labels, console=job.console
        )
    job.show(f"{job.workdir}/export, AP on {flags.value('split')}", entries)


def console() -> None:
    """The console script `mkd-export`."""
    export_job.define()
    flags.define("quantization", "int8", f"One or several, comma-separated: {', '.join(QUANTIZATIONS)}.")
    flags.define("postprocess", "detection", f"{' or '.join(POSTPROCESSES)}: with detections, or raw heads.")
    flags.define(
        "score_threshold",
        PostprocessConfig.score_threshold,
        "Lowest score in the detections; a higher one is faster in crowds and costs AP (--max_ap_drop).",
    )
    flags.run(main, "interrupted; earlier files are untouched")


if __name__ == "__main__":
    console()
