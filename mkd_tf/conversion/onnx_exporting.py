"""The body of the program `export.onnx`: convert, run through onnxruntime, measure, and only then accept."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from rich.console import Console
from rich.progress import Progress

from mkd_tf import boxes
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.measuring import (
    THREADS,
    FileOptions,
    Measurement,
    figures,
    origin_of,
    record_measured,
    refuse_rejected,
)
from mkd_tf.conversion.onnx_file import OPSET, check_form, convert_onnx
from mkd_tf.conversion.parity import Heads, differences
from mkd_tf.conversion.tflite import check_labels
from mkd_tf.data.base import Dataset
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.onnx_runner import OnnxRunner, import_onnxruntime
from mkd_tf.postprocess import probabilities


@dataclasses.dataclass(frozen=True)
class OnnxOptions(FileOptions):
    """How an ONNX file is made, beside what holds for every file.

    Attributes:
      quantization: `float32` or `int8`.
      postprocess: `decoded` or `raw`.
      opset: version of ONNX's operators.
      dynamic_batch: whether it takes any number of pictures at once.
    """

    quantization: str = "float32"
    postprocess: str = "decoded"
    opset: int = OPSET
    dynamic_batch: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_form(self.quantization, self.postprocess, self.opset, self.dynamic_batch, self.fit)

    def suffix(self) -> str:
        """The end of the file's name: `float32.onnx`, `float32_dynamic.onnx`, `int8_raw.onnx`."""
        dynamic, raw = "_dynamic" if self.dynamic_batch else "", "_raw" if self.postprocess == "raw" else ""
        return f"{self.quantization}{dynamic}{raw}.onnx"


def onnx_heads(runner: OnnxRunner, images: np.ndarray) -> Heads:
    """Returns `scores` after the sigmoid, and `box_encodings` of a raw file or `boxes` of a decoded one."""
    outputs = runner.invoke(images)
    if runner.is_raw:
        logits = outputs["class_logits"]
        return {"box_encodings": outputs["box_encodings"], "scores": probabilities(logits)}
    return outputs


def expected_heads(detector: Detector, heads: Heads, *, is_raw: bool) -> Heads:
    """Returns what `onnx_heads` should be, from `parity.keras_heads`; boxes as fractions of the input."""
    if is_raw:
        return heads
    anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
    decoded = boxes.decode(ops.convert_to_tensor(heads["box_encodings"], "float32"), anchors)
    return {"boxes": ops.convert_to_numpy(decoded), "scores": heads["scores"]}


def _converted(
    detector: Detector,
    calibration: Calibration | None,
    option: OnnxOptions,
    labels: Sequence[str],
    progress: Progress,
) -> bytes:
    count = None if calibration is None else len(calibration.images)
    task = progress.add_task(f"converting to {option.quantization}", total=count)
    content = convert_onnx(
        detector,
        option.quantization,
        calibration,
        option.postprocess,
        opset=option.opset,
        dynamic_batch=option.dynamic_batch,
        labels=labels,
        fit=option.fit,
        on_progress=lambda done, total: progress.update(task, completed=done, total=total),
    )
    progress.update(task, total=1, completed=1)
    return content


def _measured(
    content: bytes, detector: Detector, measurement: Measurement, option: OnnxOptions
) -> dict[str, Any]:
    """Runs the file; returns everything measured about it."""
    runner = OnnxRunner(content, threads=THREADS)
    heads = expected_heads(detector, measurement.float_heads, is_raw=runner.is_raw)
    parity = differences(onnx_heads(runner, measurement.images), heads)
    return figures(runner, measurement, option.fit, parity)


def export_onnx(
    source: str | Path,
    dataset: Dataset,
    workdir: str | Path,
    options: Sequence[OnnxOptions],
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
      MkdError: if onnxruntime is missing, or the model cannot be read or converted, when
        nothing is changed; or if a file lost more AP than allowed, when it is left as
        `<name>.rejected`.
    """
    # Before the minutes that it would be missed after.
    import_onnxruntime()
    console = console or Console(stderr=True)
    detector = load_detector(source)
    origin = origin_of(source)
    shown = check_labels(labels or detector.class_names, len(detector.class_names))
    entries: dict[str, dict[str, Any]] = {}
    with Progress(console=console, transient=True) as progress:
        measurement = Measurement(detector, dataset, options[0].split, progress)
        for option in options:
            calibration = None
            if option.quantization == "int8":
                calibration = option.calibration(dataset, detector.image_size)
            content = _converted(detector, calibration, option, shown, progress)
            entry = {
                **option.facts(origin, calibration, "onnx", "onnxruntime", "tf2onnx"),
                **_measured(content, detector, measurement, option),
            }
            file = f"{name}_{option.suffix()}"
            stored, entry = record_measured(workdir, file, content, shown, entry, options[0].max_ap_drop)
            entries[stored] = entry
    refuse_rejected(workdir, entries, options[0].max_ap_drop)
    return entries
