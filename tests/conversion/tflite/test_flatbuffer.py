"""The flatbuffer writer: bytes worked by hand, every kind of field read back."""

import struct

import numpy as np
from flatbuffers import number_types

from mkd_tf.conversion.tflite.flatbuffer import to_bytes
from mkd_tf.conversion.tflite.metadata_reader import Record


def test_bytes_of_a_table_with_one_field():
    content = to_bytes({1: np.int32(7)}, b"ABCD")
    # Root offset, identifier; then a vtable: its size 8, the table's size 8, field 0
    # missing, field 1 at 4 behind the table's start; the table: back to its vtable, 7.
    (root,) = struct.unpack_from("<I", content)
    assert content[4:8] == b"ABCD"
    (back,) = struct.unpack_from("<i", content, root)
    assert struct.unpack_from("<4H", content, root - back) == (8, 8, 0, 4)
    assert struct.unpack_from("<i", content, root + 4) == (7,)


def test_every_kind_of_field_comes_back():
    inner = [{0: "first"}, {0: "second", 1: np.uint32(4_000_000_000)}]
    fields = {
        0: "naïve",
        1: np.uint8(255),
        2: np.int8(-3),
        3: np.float32(0.5),
        4: np.bool_(True),
        5: np.array([1.5, -2], "float32"),
        6: inner,
        7: inner[1],
        8: None,
        9: np.array([1, 0, 3, 2], "uint32"),
    }
    record = Record.root(to_bytes(fields, b"TEST"))
    assert record.text(0) == "naïve"
    assert record.number(1, number_types.Uint8Flags) == 255
    assert record.number(2, number_types.Int8Flags) == -3
    assert record.number(3, number_types.Float32Flags) == 0.5
    assert record.number(4, number_types.BoolFlags)
    assert record.array(5, "<f4").tolist() == [1.5, -2]
    assert [r.text(0) for r in record.records(6)] == ["first", "second"]
    assert record.record(7).number(1, number_types.Uint32Flags) == 4_000_000_000
    assert record.text(8) == "" and list(record.records(8)) == []
    assert record.array(9, "<u4").tolist() == [1, 0, 3, 2]


def test_a_zero_is_written_and_not_left_to_the_readers_default():
    record = Record.root(to_bytes({0: np.float32(0)}, b"TEST"))
    assert record.number(0, number_types.Float32Flags, default=9) == 0


def test_bytes_are_aligned_to_16():
    """A flatbuffer inside a flatbuffer is read in place."""
    for length in (7, 16, 33, 50):
        data = bytes(range(200, 200 + length))
        content = to_bytes({0: data, 1: "x" * length}, b"TEST")
        assert Record.root(content).array(0, "u1").tobytes() == data
        assert content.index(data) % 16 == 0
