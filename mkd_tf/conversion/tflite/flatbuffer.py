"""A small writer of flatbuffers: tables of numbered fields, without generated code.

A table is a dict from slots to values; a schema's field number n is slot n. The value's Python
type decides how it is written: a NumPy scalar, `str`, `bytes` (a vector of ubyte, aligned to
16), `np.ndarray` (a vector of numbers), a table, or a list of tables or strings. None leaves a
field out. A union takes two slots, its type (`np.uint8`) and its table.

Reference: the FlatBuffers binary format, https://flatbuffers.dev/internals/.
"""

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

Table = Mapping[int, Any]


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
    fields = {slot: value for slot, value in table.items() if value is not None}
    # Flatbuffers are written bottom-up: a table's references first.
    offsets = {s: _reference(builder, v) for s, v in fields.items() if not isinstance(v, np.generic)}
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if slot in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
        else:
            # A method for each type, as in PrependFloat32Slot.
            getattr(builder, f"Prepend{value.dtype.name.capitalize()}Slot")(slot, value.item(), 0)
    return builder.EndObject()


def to_bytes(root: Table, identifier: bytes) -> bytes:
    """Returns the flatbuffer of `root` with its 4-byte file identifier."""
    builder = flatbuffers.Builder(1024)
    # Zeros are written too: the default of a reader's schema may differ.
    builder.ForceDefaults(True)
    builder.Finish(_table(builder, root), file_identifier=identifier)
    return bytes(builder.Output())
