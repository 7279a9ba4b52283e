"""A TFLite file as objects that can be changed, and back."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def unpack(content: bytes) -> schema.ModelT:
    """Returns the model in a file's content."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def to_content(model: schema.ModelT, size: int = 0) -> bytes:
    """Returns the content of a file; `size`, about how long it becomes, saves copies."""
    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator_code(model: schema.ModelT, operator: schema.OperatorT) -> int:
    """Returns which of `schema.BuiltinOperator` an operator is."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Old files keep the code in a byte, new ones in an int; the other is then 0.
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def add_buffer(model: schema.ModelT, data: bytes) -> int:
    """Appends a buffer; returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, "uint8")
    model.buffers.append(buffer)
    return len(model.buffers) - 1
