"""A TFLite file as objects that can be changed, and back."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

DTYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype("float32"),
    schema.TensorType.FLOAT16: np.dtype("float16"),
    schema.TensorType.INT8: np.dtype("int8"),
    schema.TensorType.UINT8: np.dtype("uint8"),
    schema.TensorType.INT16: np.dtype("int16"),
    schema.TensorType.INT32: np.dtype("int32"),
    schema.TensorType.INT64: np.dtype("int64"),
}
CODE_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def unpack(content: bytes) -> schema.ModelT:
    """Returns the model in a file's content."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


class _Builder(flatbuffers.Builder):
    """Writes equal vectors once, and those of bytes where the schema wants a constant's data.

    Per-channel quantisation repeats the same zero points for each layer: 8 bytes a channel. The
    schema says `force_align: 16` of a constant's data, which its Python classes forget; interpreters
    on microcontrollers read it in place.
    """

    _ALIGNMENT = 16

    def __init__(self, size: int):
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(elemSize, numElems, self._ALIGNMENT if elemSize == 1 else alignment)

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def to_content(model: schema.ModelT, size: int = 0) -> bytes:
    """Returns the content of a file; `size`, about how long it becomes, saves copies."""
    builder = _Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator_code(model: schema.ModelT, operator: schema.OperatorT) -> int:
    """Returns which of `schema.BuiltinOperator` an operator is."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Old files keep the code in a byte, new ones in an int; the other is then 0.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def operator_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """Returns the name of an operator, as in `CONV_2D`."""
    return CODE_NAMES[operator_code(model, operator)]


def add_code(model: schema.ModelT, builtin: int, version: int) -> int:
    """Returns the index of an operator's code of this version, added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def tensor_name(graph: schema.SubGraphT, index: int) -> str:
    """Returns a tensor's name."""
    return (graph.tensors[index].name or b"").decode()


def producers(graph: schema.SubGraphT) -> dict[int, schema.OperatorT]:
    """Returns the operator that makes each computed tensor, by the tensor's index."""
    return {int(index): operator for operator in graph.operators for index in operator.outputs}


def constant(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    """Returns a constant's stored values, of the tensor's shape."""
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), DTYPES[tensor.type]).reshape(tensor.shape)


def add_tensor(graph: schema.SubGraphT, tensor: schema.TensorT) -> int:
    """Appends a tensor; returns its index."""
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def made_operator(
    model: schema.ModelT, builtin: int, version: int, source: int, target: int
) -> schema.OperatorT:
    """Returns an operator without options from one tensor to another, which the caller puts into a graph."""
    operator = schema.OperatorT()
    operator.opcodeIndex = add_code(model, builtin, version)
    operator.inputs, operator.outputs = [source], [target]
    return operator


def add_buffer(model: schema.ModelT, data: bytes) -> int:
    """Appends a buffer; returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, "uint8")
    model.buffers.append(buffer)
    return len(model.buffers) - 1
