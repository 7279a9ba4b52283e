"""A small writer of flatbuffers: tables of numbered fields, without generated code.

A schema's field number n is slot n here; the value's Python type decides how it is
written. A union takes two slots, its type (`np.uint8`) and its table.

Reference: the FlatBuffers binary format, https://flatbuffers.dev/internals/.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to be written.

    Attributes:
      fields: value by slot: a NumPy scalar, `str`, `bytes` (a vector of ubyte, aligned
        to 16), `np.ndarray` (a vector of numbers), a `Table`, or a list of tables or
        strings. None leaves a field out.
    """

    fields: Mapping[int, Any]


_SCALARS = {
    "bool": flatbuffers.Builder.PrependBoolSlot,
    "int8": flatbuffers.Builder.PrependInt8Slot,
    "uint8": flatbuffers.Builder.PrependUint8Slot,
    "int32": flatbuffers.Builder.PrependInt32Slot,
    "uint32": flatbuffers.Builder.PrependUint32Slot,
    "float32": flatbuffers.Builder.PrependFloat32Slot,
}


def _blob(builder: flatbuffers.Builder, data: bytes) -> int:
    builder.StartVector(1, len(data), 16)
    for byte in reversed(data):
        builder.PrependByte(byte)
    return builder.EndVector()


def _references(builder: flatbuffers.Builder, values: list) -> int:
    offsets = [_reference(builder, value) for value in values]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _reference(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a value that is stored outside its table; returns its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        return _blob(builder, value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        return _references(builder, value)
    return _table(builder, value)


def _table(builder: flatbuffers.Builder, table: Table) -> int:
    fields = {slot: value for slot, value in table.fields.items() if value is not None}
    # Flatbuffers are written bottom-up: a table's references first.
    offsets = {s: _reference(builder, v) for s, v in fields.items() if not isinstance(v, np.generic)}
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if slot in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
        else:
            _SCALARS[value.dtype.name](builder, slot, value.item(), 0)
    return builder.EndObject()


def to_bytes(root: Table, identifier: bytes) -> bytes:
    """Returns the flatbuffer of `root` with its 4-byte file identifier."""
    builder = flatbuffers.Builder(1024)
    # Zeros are written too: the default of a reader's schema may differ.
    builder.ForceDefaults(True)
    builder.Finish(_table(builder, root), file_identifier=identifier)
    return bytes(builder.Output())
