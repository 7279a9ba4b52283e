"""The ONNX format: the options of a file, and where its parts are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mkd_tf.checks import fail
from mkd_tf.conversion.base import FileRunner, Format, Heads, import_extra
from mkd_tf.conversion.onnx import OPSET, OPSETS, POSTPROCESSES, QUANTIZATIONS
from mkd_tf.options import option

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress


@dataclasses.dataclass(frozen=True)
class Onnx(Format):
    """An ONNX file, for onnxruntime and compilers of accelerators."""

    quantization: str = option(
        "float32", "Precision; int8: between QuantizeLinear and DequantizeLinear.", choices=QUANTIZATIONS
    )
    postprocess: str = option(
        "decoded", "decoded: outputs are boxes and scores; raw: the heads.", choices=POSTPROCESSES
    )
    opset: int = option(OPSET, "Version of ONNX's operators.", choices=OPSETS)
    dynamic_batch: bool = option(False, "Take any number of images at once; float32 only.")
    ending = ".onnx"
    packages = ("onnx", "onnxruntime", "tf2onnx")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dynamic_batch and self.quantization == "int8":
            got = "int8, which is made from a TFLite file of batch 1"
            do = "Leave dynamic_batch out, or choose quantization float32."
            fail("dynamic_batch", expected="float32", got=got, do=do)

    def suffix(self) -> str:
        dynamic, raw = "_dynamic" if self.dynamic_batch else "", "_raw" if self.postprocess == "raw" else ""
        return f"{self.quantization}{dynamic}{raw}.onnx"

    def require(self) -> None:
        for package in self.packages:
            import_extra(package, "an ONNX file", "onnx")

    def convert(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        fit: str,
        on_progress: OnProgress,
    ) -> bytes:
        self.require()
        from mkd_tf.conversion.onnx.convert import to_onnx

        options = dataclasses.asdict(self) | {"labels": labels, "fit": fit, "on_progress": on_progress}
        return to_onnx(detector, calibration=calibration, **options)

    @staticmethod
    def runner(source: str | Path | bytes, threads: int = 1) -> FileRunner:
        from mkd_tf.conversion.onnx.runner import OnnxRunner

        return OnnxRunner(source, threads=threads)

    def heads(self, content: bytes, images: np.ndarray) -> Heads:
        from mkd_tf.conversion.onnx.heads import onnx_heads

        return onnx_heads(content, images)

    def expected_heads(self, detector: Detector, heads: Heads) -> Heads:
        from mkd_tf.conversion.onnx.heads import decoded

        return heads if self.postprocess == "raw" else decoded(detector, heads)
