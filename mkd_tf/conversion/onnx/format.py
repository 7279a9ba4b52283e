"""The body of the program `export.onnx`: what an ONNX file is made of, and what is measured of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.onnx.convert import OPSET, check_form, convert_onnx
from mkd_tf.conversion.onnx.runner import OnnxRunner, import_onnxruntime
from mkd_tf.conversion.parity import Heads, differences
from mkd_tf.conversion.tflite.convert import Progress
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.export_run import KindOptions, export_files
from mkd_tf.deployment.measuring import THREADS, Measurement, figures
from mkd_tf.detection import boxes
from mkd_tf.detection.postprocess import probabilities
from mkd_tf.detectors.base import Detector


@dataclasses.dataclass(frozen=True)
class OnnxOptions(KindOptions):
    """How an ONNX file is made, beside what holds for every file.

    Attributes:
      quantization: `float32` or `int8`.
      postprocess: `decoded` or `raw`.
      opset: version of ONNX's operators.
      dynamic_batch: whether it takes any number of images at once.
    """

    quantization: str = "float32"
    postprocess: str = "decoded"
    opset: int = OPSET
    dynamic_batch: bool = False
    packages = ("onnx", "onnxruntime", "tf2onnx")

    def __post_init__(self):
        super().__post_init__()
        check_form(self.quantization, self.postprocess, self.opset, self.dynamic_batch, self.fit)

    def suffix(self) -> str:
        """The end of the file's name: `float32.onnx`, `float32_dynamic.onnx`, `int8_raw.onnx`."""
        dynamic, raw = "_dynamic" if self.dynamic_batch else "", "_raw" if self.postprocess == "raw" else ""
        return f"{self.quantization}{dynamic}{raw}.onnx"

    def content(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        on_progress: Progress,
    ) -> bytes:
        return convert_onnx(
            detector,
            self.quantization,
            calibration,
            self.postprocess,
            opset=self.opset,
            dynamic_batch=self.dynamic_batch,
            labels=labels,
            fit=self.fit,
            on_progress=on_progress,
        )

    def measured(self, content: bytes, detector: Detector, measurement: Measurement) -> dict[str, Any]:
        runner = OnnxRunner(content, threads=THREADS)
        heads = expected_heads(detector, measurement.float_heads, is_raw=runner.is_raw)
        parity = differences(onnx_heads(runner, measurement.images), heads)
        return figures(runner, measurement, self.fit, parity)


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


def export_onnx(
    source: str | Path, dataset: Dataset, workdir: str | Path, options: Sequence[OnnxOptions], **more: Any
) -> dict[str, dict[str, Any]]:
    """`accepting.export_files`, which fails at once where onnxruntime is missing."""
    # Before the minutes that it would be missed after.
    import_onnxruntime()
    return export_files(source, dataset, workdir, options, **more)
