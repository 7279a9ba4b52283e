"""The micro format: C++ source for TensorFlow Lite Micro."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkd_tf.conversion.base import FileRunner, Format, Heads
from mkd_tf.options import option

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.conversion.facts import FileFacts
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress


@dataclasses.dataclass(frozen=True)
class Micro(Format):
    """C++ source of an int8 model with raw heads, for microcontrollers."""

    accelerator: str = option(
        "ethos-u55-128", "Arm NPU that vela summarises, where ethos-u-vela is installed; empty for none."
    )
    ending = ".cc"
    quantization = "int8"

    def suffix(self) -> str:
        return "micro.cc"

    def convert(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        fit: str,
        on_progress: OnProgress,
    ) -> bytes:
        from mkd_tf.conversion.facts import FileFacts
        from mkd_tf.conversion.micro.arena import arena_bytes
        from mkd_tf.conversion.micro.source import MicroModel, to_source, without_metadata
        from mkd_tf.conversion.tflite.convert import to_tflite
        from mkd_tf.version import __version__

        raw = to_tflite(detector, "int8", calibration, "raw", labels=labels, on_progress=on_progress)
        model = without_metadata(raw)
        anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
        facts = FileFacts(__version__, "", fit, tuple(labels))
        return to_source(MicroModel(model, anchors, facts, arena_bytes(model)))

    def finish(self, content: bytes, facts: FileFacts) -> bytes:
        from mkd_tf.conversion.micro.source import from_source, to_source

        return to_source(dataclasses.replace(from_source(content), facts=facts))

    @staticmethod
    def runner(source: str | Path | bytes, threads: int = 1) -> FileRunner:
        from mkd_tf.conversion.micro.runner import MicroRunner

        return MicroRunner(source, threads)

    def heads(self, content: bytes, images: np.ndarray) -> Heads:
        import numpy as np

        from mkd_tf.conversion.micro.runner import MicroRunner
        from mkd_tf.detection.postprocess import probabilities

        runner = MicroRunner(content)
        rows = [runner.invoke(image) for image in images]
        encodings, logits = (
            np.concatenate([row[name] for row in rows]) for name in ("box_encodings", "class_logits")
        )
        return {"box_encodings": encodings, "scores": probabilities(logits)}

    def report(self, content: bytes) -> dict[str, Any]:
        from mkd_tf.conversion.micro.arena import vela_summary
        from mkd_tf.conversion.micro.source import from_source
        from mkd_tf.conversion.tflite.weights_report import weights_report

        found = from_source(content)
        vela = vela_summary(found.model, self.accelerator) if self.accelerator else None
        micro = {"model_bytes": len(found.model), "arena_bytes": found.arena_bytes or None, "vela": vela}
        return {"micro": micro, "weights": weights_report(found.model)}

    def companions(self, name: str, detector: Detector, content: bytes) -> Mapping[str, str]:
        from mkd_tf.conversion.micro.source import from_source, to_header

        del detector
        return {f"{Path(name).stem}.h": to_header(from_source(content))}
