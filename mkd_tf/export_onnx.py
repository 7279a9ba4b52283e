"""Exports a trained student to ONNX: `python -m export.onnx --workdir=runs/quickstart --opset=17`.

The file is run through onnxruntime before it is accepted; see `conversion.onnx.format`.
"""

from mkd_tf import export_job, flags
from mkd_tf.conversion.onnx.convert import ONNX_POSTPROCESSES, ONNX_QUANTIZATIONS, OPSET, OPSETS
from mkd_tf.conversion.onnx.format import OnnxOptions, export_onnx


def main() -> None:
    """Exports and prints what was measured; fails when a file was rejected."""
    job = export_job.Job()
    options = [
        OnnxOptions(
            quantization=quantization.strip(),
            postprocess=flags.value("postprocess"),
            opset=flags.value("opset"),
            dynamic_batch=flags.value("dynamic_batch"),
            **job.options,
        )
        for quantization in flags.value("quantization").split(",")
    ]
    with job.dataset() as dataset:
        entries = export_onnx(
            job.source, dataset, job.workdir, options, name=job.role, labels=job.labels, console=job.console
        )
    job.show(f"{job.workdir}/export, AP on {flags.value('split')}", entries)


def console() -> None:
    """The console script `mkd-export-onnx`."""
    forms = ", ".join(ONNX_QUANTIZATIONS)
    export_job.define()
    flags.define("quantization", "float32", f"One or several, comma-separated: {forms}.")
    flags.define("postprocess", "decoded", f"{' or '.join(ONNX_POSTPROCESSES)}: boxes and scores, or heads.")
    flags.define("opset", OPSET, f"Version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]}.")
    flags.define("dynamic_batch", False, "Take any number of images at once; float32 only.")
    flags.run(main, "interrupted; earlier files are untouched")


if __name__ == "__main__":
    console()
