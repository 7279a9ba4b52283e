"""Runs an ONNX file through onnxruntime."""

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.base import import_extra, read_model
from mkd_tf.teachers.session import Session, Tensor

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class OnnxSession(Session):
    """An ONNX file; see `session.Session`. Ultralytics' metadata give classes and size."""

    kind = "onnx"

    def __init__(self, path: str, threads: int):
        where, _ = read_model(path, "an .onnx file")
        onnxruntime = import_extra("onnxruntime", "an ONNX teacher", "onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            # By its path: weights may lie in a file beside it.
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # Its errors have no common class of their own.
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise MkdError(f"{where}: not a readable ONNX file ({reason}). Export it again.") from None
        self.inputs = {entry.name: _tensor(where, entry) for entry in self._session.get_inputs()}
        self.outputs = {entry.name: _tensor(where, entry) for entry in self._session.get_outputs()}
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.names = _literal(self.metadata.get("names", ""))
        size = _literal(self.metadata.get("imgsz", ""))
        self.size = int(size[0]) if isinstance(size, list) and size and len(set(size)) == 1 else 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self._session.run(list(self.outputs), dict(feeds)), strict=True))


def _tensor(where: str, entry: Any) -> Tensor:
    if entry.type not in _DTYPES:
        do = "Export it with inputs and outputs of float32."
        fail(f"{where}, {entry.name}", expected=", ".join(_DTYPES), got=entry.type, do=do)
    # A free dimension has a name or nothing.
    shape = tuple(s if isinstance(s, int) else None for s in entry.shape)
    return Tensor(shape, np.dtype(_DTYPES[entry.type]))


def _literal(text: str) -> Any:
    """Returns the Python literal that Ultralytics writes, None for other text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
