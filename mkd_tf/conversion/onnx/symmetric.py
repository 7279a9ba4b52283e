"""An int8 file whose zero points are all 0, which TensorRT demands of activations.

Made by onnxruntime's static quantisation from the float32 file: QDQ before convolutions, int8
weights per output channel, biases in float. What comes out of a convolution becomes integers
behind its activation, where TensorRT fuses it: before, negative values would take half of them.
The input stays float32 in 0..255; pixels are scaled to -1..1 before they become integers.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mkd_tf.conversion.onnx.runner import INPUT
from mkd_tf.evaluation.progress import OnProgress

_QUANTIZED = ["Conv"]


def quantized(model: onnx.ModelProto, images: np.ndarray, on_progress: OnProgress) -> onnx.ModelProto:
    """Returns the symmetric int8 form of a float32 model.

    Args:
      model: with the input `images` `[1, S, S, 3]`.
      images: `[K, S, S, 3]` uint8, which give the ranges.
      on_progress: called with how many were used.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Feeds the images one by one."""

        def __init__(self) -> None:
            self._rows = self._images()

        def _images(self) -> Iterator[dict[str, np.ndarray]]:
            for done, image in enumerate(images, start=1):
                yield {INPUT: image[None].astype("float32")}
                on_progress(done, len(images))

        def get_next(self) -> Any:
            return next(self._rows, None)

    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": _QUANTIZED,
    }
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "symmetric.onnx")
        try:
            # It advises to pre-process every model.
            root.setLevel(logging.ERROR)
            quantization.quantize_static(
                model,
                path,
                Reader(),
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options=options,
            )
        finally:
            root.setLevel(level)
        return onnx.load(path)
