"""ONNX files of the detector in `made`, each made once in the process that asks for it."""

import functools

from mkd_tf.conversion.onnx.convert import to_onnx
from tests.conversion import made


@functools.cache
def file(quantization: str = "float32", postprocess: str = "decoded", dynamic_batch: bool = False) -> bytes:
    """The detector as an ONNX file; int8 with the calibration of `made.file`."""
    calibration = made.images(16) if quantization == "int8" else None
    return to_onnx(made.detector(), quantization, calibration, postprocess, dynamic_batch=dynamic_batch)
