"""Runs a TFLite file through LiteRT.

Outputs have the names of the file's signature if there is one, else those of their tensors.
The outputs of the operator `TFLite_Detection_PostProcess` are known by the operator, whatever
they are called: it defines boxes, classes, scores and count in this order.
"""

import ast
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import number_types

from mkd_tf.checks import MkdError
from mkd_tf.conversion.base import read_model
from mkd_tf.conversion.tflite import metadata_reader
from mkd_tf.conversion.tflite.metadata_reader import metadata_buffer, read_metadata
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.teachers.session import Session, Tensor

_OP = "TFLite_Detection_PostProcess"
_OP_OUTPUTS = (_OP, f"{_OP}:1", f"{_OP}:2", f"{_OP}:3")
_METADATA_OUTPUTS = dict(
    zip(("location", "category", "score", "number of detections"), _OP_OUTPUTS, strict=True)
)


class TFLiteSession(Session):
    """A TFLite file; see `session.Session`. Metadata in it give classes and normalisation."""

    kind = "tflite"

    def __init__(self, path: str, threads: int):
        where, content = read_model(path, "a .tflite file")
        # Python's binding maps the content and does not keep it alive by itself.
        self._content = content
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise MkdError(f"{where}: not a readable TFLite file ({reason}). Export it again.") from None
        model = unpack(content)
        graph = model.subgraphs[0]
        signature = model.signatureDefs[0] if model.signatureDefs else None
        public = {}
        if signature is not None:
            named = [*signature.inputs, *signature.outputs]
            public = {int(entry.tensorIndex): entry.name.decode() for entry in named}
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs = {public.get(d["index"], d["name"]): d["index"] for d in inputs}
        self._outputs = {public.get(d["index"], d["name"]): d["index"] for d in outputs}
        self.inputs = {public.get(d["index"], d["name"]): _tensor(d) for d in inputs}
        self.outputs = {public.get(d["index"], d["name"]): _tensor(d) for d in outputs}
        aliases = self._op_outputs(model, graph) | {
            d["name"]: public[d["index"]] for d in outputs if d["index"] in public
        }
        if metadata_buffer(content):
            # Damaged metadata say nothing; what they would have said must then be in the spec.
            with contextlib.suppress(MkdError):
                aliases = self._read_metadata(content, [d["index"] for d in outputs]) | aliases
        self.names = self.names or _ultralytics_names(content)
        self.aliases = aliases

    def _op_outputs(self, model: Any, graph: Any) -> dict[str, str]:
        by_index = {index: name for name, index in self._outputs.items()}
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].customCode
            if code is not None and code.decode() == _OP:
                places = zip(_OP_OUTPUTS, operator.outputs, strict=False)
                return {alias: by_index[int(i)] for alias, i in places if int(i) in by_index}
        return {}

    def _read_metadata(self, content: bytes, indices: list[int]) -> dict[str, str]:
        """Takes over what metadata say; returns the outputs that they name."""
        found = read_metadata(content)
        self.names = found.labels or None
        if _states_normalisation(content):
            self.normalisation = tuple(map(float, found.mean)), tuple(map(float, found.std))
        by_index = {index: name for name, index in self._outputs.items()}
        if len(found.outputs) != len(indices):
            return {}
        pairs = zip(found.outputs, indices, strict=True)
        return {_METADATA_OUTPUTS[n]: by_index[i] for n, i in pairs if n in _METADATA_OUTPUTS}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, values in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], values)
        self._interpreter.invoke()
        found = {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
        return {name: self.outputs[name].real(x) for name, x in found.items()}


def _ultralytics_names(content: bytes) -> Any:
    """Returns the classes that Ultralytics writes into the archive at the end of the file, or None."""
    files = metadata_reader.packed_files(content)
    text = files.get("metadata.json", files.get("temp_meta.txt", b"")).decode(errors="replace")
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            names = read(text)["names"]
            return {int(k): str(v) for k, v in names.items()} if isinstance(names, dict) else names
    return None


def _states_normalisation(content: bytes) -> bool:
    """Returns whether metadata say how pixels are normalised; those that do not are read as 0 and 1."""
    graph = next(
        metadata_reader.Record.root(metadata_buffer(content)).records(metadata_reader.MODEL_SUBGRAPHS)
    )
    for tensor in graph.records(metadata_reader.SUBGRAPH_INPUTS):
        for unit in tensor.records(metadata_reader.TENSOR_UNITS):
            kind = unit.number(metadata_reader.UNIT_TYPE, number_types.Uint8Flags)
            if kind == metadata_reader.UNIT_IS_NORMALIZATION:
                return True
    return False


def _tensor(details: Any) -> Tensor:
    # The signature of a free dimension is -1.
    shape = tuple(int(s) if s > 0 else None for s in details.get("shape_signature", details["shape"]))
    shape = shape or tuple(int(s) for s in details["shape"])
    scale, zero = details["quantization"]
    return Tensor(shape, np.dtype(details["dtype"]), float(scale), int(zero))
