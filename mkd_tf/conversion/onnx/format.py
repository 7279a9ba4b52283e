"""The ONNX format: the options of a file, and where its parts are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkd_tf.checks import fail
from mkd_tf.conversion.base import (
    AUTO,
    FileRunner,
    Format,
    Heads,
    check_threshold,
    chosen_suppression,
    import_extra,
)
from mkd_tf.conversion.onnx import OPSET, OPSETS, POSTPROCESSES, QUANTIZATIONS
from mkd_tf.options import at_least, option

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.conversion.facts import FileFacts
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress


@dataclasses.dataclass(frozen=True)
class Onnx(Format):
    """An ONNX file, for onnxruntime and compilers of accelerators."""

    quantization: str = option(
        "float32", "Precision; int8: between QuantizeLinear and DequantizeLinear.", choices=QUANTIZATIONS
    )
    postprocess: str = option(
        "decoded",
        "decoded: outputs are boxes and scores; raw: the heads; nms: detections after suppression.",
        choices=POSTPROCESSES,
    )
    opset: int = option(OPSET, "Version of ONNX's operators.", choices=OPSETS)
    dynamic_batch: bool = option(False, "Take any number of images at once; float32 and float16 only.")
    symmetric: bool = option(False, "Zero points of 0, as TensorRT needs; int8 only.")
    score_threshold: str | float = option(
        AUTO, "Lowest score of nms; auto: the highest that costs at most 0.1 AP.", check=check_threshold
    )
    max_detections: int = option(
        0, "The most that a file with nms returns; 0: as many as cost at most 0.1 AP.", check=at_least(0)
    )
    ending = ".onnx"
    packages = ("onnx", "onnxruntime", "tf2onnx")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dynamic_batch and self.quantization == "int8":
            got = "int8, which is made from a TFLite file of batch 1"
            do = "Leave dynamic_batch out, or choose quantization float32."
            fail("dynamic_batch", expected="float32", got=got, do=do)
        if self.dynamic_batch and self.postprocess == "nms":
            do = "Leave dynamic_batch out, or choose postprocess decoded."
            fail("dynamic_batch", expected="postprocess decoded or raw", got="nms", do=do)
        if self.symmetric and self.quantization != "int8":
            do = "Leave symmetric out, or choose quantization int8."
            fail("symmetric", expected="int8", got=self.quantization, do=do)

    def suffix(self) -> str:
        form = "" if self.postprocess == "decoded" else f"_{self.postprocess}"
        dynamic = "_dynamic" if self.dynamic_batch else ""
        symmetric = "_symmetric" if self.symmetric else ""
        return f"{self.quantization}{symmetric}{dynamic}{form}.onnx"

    def needs_calibration(self, detector: Detector) -> bool:
        # Ranges that a student brings have zero points of their own.
        return self.symmetric or super().needs_calibration(detector)

    def suppression(self) -> tuple[float | None, int | None] | None:
        return chosen_suppression(self.score_threshold, self.max_detections, self.postprocess == "nms")

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

        options: dict[str, Any] = dataclasses.asdict(self)
        # Suppression is measured with the lowest score, and changed in `finish`.
        del options["score_threshold"], options["max_detections"]
        options |= {"labels": labels, "fit": fit, "on_progress": on_progress}
        return to_onnx(detector, calibration=calibration, **options)

    @staticmethod
    def runner(source: str | Path | bytes, threads: int = 1) -> FileRunner:
        from mkd_tf.conversion.onnx.runner import OnnxRunner

        return OnnxRunner(source, threads=threads)

    def finish(self, content: bytes, facts: FileFacts) -> bytes:
        from mkd_tf.conversion.onnx.model_edits import with_facts

        return with_facts(content, facts)

    def heads(self, content: bytes, images: np.ndarray) -> Heads:
        from mkd_tf.conversion.onnx.heads import onnx_heads

        return onnx_heads(content, images)

    def expected_heads(self, detector: Detector, heads: Heads) -> Heads:
        from mkd_tf.conversion.onnx.heads import decoded

        return heads if self.postprocess == "raw" else decoded(detector, heads)
