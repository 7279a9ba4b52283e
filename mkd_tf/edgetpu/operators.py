"""Operators and tensors of a TFLite file's first graph, as frozen dataclasses.

`read_graph` reads them for the Edge TPU check. The file is untrusted, and the generated
reader checks nothing: a wrong offset raises any exception of NumPy or struct, and vectors
may overlap, so that a small file can describe a huge graph. Everything is read here, once
and within limits; the result needs no further checks.
"""

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.checks import fail

MAX_OPERATORS = 20_000
MAX_TENSORS = 100_000
MAX_RANK = 16
# Only those that a rule uses: options of some operators hold graphs of their own.
_OPTIONS = {
    "Conv2DOptions",
    "DepthwiseConv2DOptions",
    "Pool2DOptions",
    "ConcatenationOptions",
    "FullyConnectedOptions",
    "StridedSliceOptions",
    "SqueezeOptions",
    "PackOptions",
}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATOR_NAMES = _names(schema.BuiltinOperator)
_TYPE_NAMES = _names(schema.TensorType)
_OPTION_NAMES = _names(schema.BuiltinOptions)
_DTYPES = {"INT8": "<i1", "UINT8": "<u1", "INT32": "<i4", "INT64": "<i8"}


@dataclass(frozen=True)
class Tensor:
    """One tensor; `data` holds the bytes of a constant and is None for a computed tensor."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    dynamic: bool
    buffer: int
    size: int
    zero_point: int
    data: np.ndarray | None = field(repr=False)

    @property
    def constant(self) -> bool:
        """Whether the file holds its value."""
        return self.size > 0

    def values(self) -> np.ndarray | None:
        """Returns a constant's numbers, flat; None if they are not in the file or of another type."""
        if self.data is None or self.type not in _DTYPES:
            return None
        dtype = np.dtype(_DTYPES[self.type])
        return self.data[: len(self.data) // dtype.itemsize * dtype.itemsize].view(dtype)


@dataclass(frozen=True)
class Operator:
    """One operator; an optional input that is left out is None."""

    index: int
    name: str
    version: int
    code: int
    custom: bool
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any]

    def computed(self) -> list[Tensor]:
        """Returns its inputs and outputs that are not constants."""
        return [t for t in (*self.inputs, *self.outputs) if t is not None and not t.constant]


@dataclass(frozen=True)
class Graph:
    """The first graph of a file; `runtime` is empty if the metadata names no version."""

    operators: tuple[Operator, ...]
    subgraphs: int
    runtime: tuple[int, ...]


def _plain(name: bytes | None) -> str:
    # Names are printed to a terminal: escape codes are replaced, long names cut.
    text = (name or b"").decode("utf-8", "replace")[:80]
    return "".join(c if c.isprintable() else "?" for c in text) or "(no name)"


def _vector(found: np.ndarray | int) -> np.ndarray:
    # The generated reader returns 0 for a vector that is missing.
    return found if isinstance(found, np.ndarray) else np.empty(0, np.int32)


def _bounded(count: int, limit: int, what: str) -> int:
    if not 0 <= count <= limit:
        raise ValueError(f"{count} {what}, more than {limit}")
    return count


def _tensor(model: Any, graph: Any, index: int) -> Tensor:
    tensor = graph.Tensors(index)
    shape, signature = _vector(tensor.ShapeAsNumpy()), _vector(tensor.ShapeSignatureAsNumpy())
    _bounded(len(shape), MAX_RANK, "dimensions")
    _bounded(tensor.Buffer(), model.BuffersLength() - 1, "buffers")
    buffer = model.Buffers(tensor.Buffer())
    data = _vector(buffer.DataAsNumpy())
    quantization = tensor.Quantization()
    zero_points = _vector(quantization.ZeroPointAsNumpy() if quantization else 0)
    return Tensor(
        index=index,
        name=_plain(tensor.Name()),
        type=_TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}"),
        shape=tuple(int(d) for d in shape),
        dynamic=bool((signature < 0).any() or (shape < 0).any()),
        buffer=tensor.Buffer(),
        # Files over 2 GB keep their data after the flatbuffer, which then has only the size.
        size=max(len(data), buffer.Size() if buffer.Size() > 1 else 0),
        zero_point=int(zero_points[0]) if len(zero_points) else 0,
        data=data if len(data) else None,
    )


def _operator(model: Any, graph: Any, index: int, tensors: list[Tensor]) -> Operator:
    operator = graph.Operators(index)
    _bounded(operator.OpcodeIndex(), model.OperatorCodesLength() - 1, "operator codes")
    entry = model.OperatorCodes(operator.OpcodeIndex())
    # Old files keep the code in a byte, new ones in an int; the other is then 0.
    code = max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode())
    custom = code == schema.BuiltinOperator.CUSTOM
    inputs, outputs = _vector(operator.InputsAsNumpy()), _vector(operator.OutputsAsNumpy())
    for found, lowest in ((inputs, -1), (outputs, 0)):
        if ((found < lowest) | (found >= len(tensors))).any():
            raise ValueError("an operator names a tensor that is not there")
    options: dict[str, Any] = {}
    if _OPTION_NAMES.get(operator.BuiltinOptionsType()) in _OPTIONS and operator.BuiltinOptions():
        options = vars(schema.BuiltinOptionsCreator(operator.BuiltinOptionsType(), operator.BuiltinOptions()))
    return Operator(
        index=index,
        name=_plain(entry.CustomCode()) if custom else _OPERATOR_NAMES.get(code, f"operator {code}"),
        version=entry.Version(),
        code=code,
        custom=custom,
        inputs=tuple(None if i < 0 else tensors[i] for i in inputs.tolist()),
        outputs=tuple(tensors[i] for i in outputs.tolist()),
        options=options,
    )


def _runtime(model: Any) -> tuple[int, ...]:
    for i in range(_bounded(model.MetadataLength(), 1000, "metadata entries")):
        entry = model.Metadata(i)
        if entry.Name() == b"min_runtime_version":
            text = _vector(model.Buffers(entry.Buffer()).DataAsNumpy()).tobytes()[:16].rstrip(b"\0")
            if re.fullmatch(rb"\d{1,4}(\.\d{1,4}){1,2}", text):
                return tuple(int(part) for part in text.split(b"."))
    return ()


def _read(content: bytes) -> Graph:
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    count = _bounded(graph.TensorsLength(), MAX_TENSORS, "tensors")
    tensors = [_tensor(model, graph, i) for i in range(count)]
    if sum(t.size for t in {t.buffer: t for t in tensors if t.data is not None}.values()) > len(content):
        raise ValueError("constants larger than the file")
    count = _bounded(graph.OperatorsLength(), MAX_OPERATORS, "operators")
    if not count:
        raise ValueError("no operators")
    operators = tuple(_operator(model, graph, i, tensors) for i in range(count))
    runtime: tuple[int, ...] = ()
    # Metadata is not part of the graph; a broken entry counts as a missing one.
    with contextlib.suppress(Exception):
        runtime = _runtime(model)
    return Graph(operators, model.SubgraphsLength(), runtime)


def read_graph(content: bytes, where: str = "model") -> Graph:
    """Returns the first graph of a TFLite file; its bytes `content` need not be trusted.

    Raises:
      MkdError: if the bytes are not a whole TFLite file; it begins with `where`.
    """

    def refuse(got: str) -> NoReturn:
        do = "Export the model again, or copy the file again."
        fail(where, expected="a whole TFLite file", got=got, do=do)

    if not content:
        refuse("an empty file")
    if len(content) < 16 or content[4:8] != b"TFL3":
        refuse("a file without the mark TFL3")
    try:
        return _read(content)
    except Exception as error:
        refuse(f"one that breaks off or contradicts itself ({type(error).__name__}: {str(error)[:80]})")
