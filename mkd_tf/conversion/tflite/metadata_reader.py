"""Reads the metadata of a TFLite file: normalisation, names of the outputs, labels, anchors.

TFLite metadata are a flatbuffer inside the model's own (a buffer called
TFLITE_METADATA) that names files in a zip archive appended to the model.
Reference: tensorflow/lite metadata_schema.fbs, schema version 1.5.0, file
identifier M001; the numbers below are its fields.
"""

import dataclasses
import io
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.facts import FACTS_FILE, FileFacts

BUFFER_NAME = "TFLITE_METADATA"
ANCHORS_FILE = "anchors.csv"
ANCHORS_HEADER = "ycenter,xcenter,height,width"
MODEL_SUBGRAPHS = 3
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
TENSOR_NAME, TENSOR_UNITS, TENSOR_FILES = 0, 4, 6
UNIT_TYPE, UNIT_OPTIONS, UNIT_IS_NORMALIZATION = 0, 1, 1
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
FILE_NAME, FILE_TYPE = 0, 2
FILE_AXIS_LABELS, FILE_VALUE_LABELS = 2, 3
_LARGEST_FILE = 2**24


class Record:
    """One table of a flatbuffer, read by field number."""

    def __init__(self, content: bytes, position: int):
        self._table = flatbuffers.table.Table(content, position)

    @classmethod
    def root(cls, content: bytes) -> "Record":
        return cls(content, struct.unpack_from("<I", content)[0])

    def _at(self, slot: int) -> int:
        return self._table.Offset(4 + 2 * slot)

    def number(self, slot: int, kind: Any, default: float = 0) -> Any:
        """A scalar; `kind` is one of `flatbuffers.number_types`."""
        return self._table.GetSlot(4 + 2 * slot, default, kind)

    def text(self, slot: int) -> str:
        at = self._at(slot)
        return self._table.String(at + self._table.Pos).decode() if at else ""

    def array(self, slot: int, dtype: str) -> np.ndarray:
        """A vector of numbers, empty where there is none."""
        at = self._at(slot)
        if not at:
            return np.zeros(0, dtype)
        start, count = self._table.Vector(at), self._table.VectorLen(at)
        return np.frombuffer(self._table.Bytes, dtype, count, start)

    def record(self, slot: int) -> "Record":
        at = self._at(slot)
        return Record(self._table.Bytes, self._table.Indirect(at + self._table.Pos))

    def records(self, slot: int) -> Iterator["Record"]:
        at = self._at(slot)
        for i in range(self._table.VectorLen(at) if at else 0):
            yield Record(self._table.Bytes, self._table.Indirect(self._table.Vector(at) + 4 * i))


@dataclasses.dataclass(frozen=True, eq=False)
class FileMetadata:
    """The metadata of a file.

    Attributes:
      mean: subtracted from a float input's pixels in 0..255.
      std: by which the difference is divided.
      outputs: names of the output tensors, in their order.
      labels: one per class; empty where the file holds none.
      anchors: `[N, 4]` float32 (ycenter, xcenter, height, width) as fractions of the
        input, or None.
      facts: what the file says of itself; None in files of before.
    """

    mean: np.ndarray
    std: np.ndarray
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    anchors: np.ndarray | None
    facts: FileFacts | None = None


def packed_files(content: bytes) -> dict[str, bytes]:
    """Returns the files in the archive at the end of a TFLite file; none where there is no archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist() if i.file_size <= _LARGEST_FILE}
    except zipfile.BadZipFile:
        return {}


def metadata_buffer(content: bytes) -> bytes:
    """Returns the metadata's own flatbuffer, empty where the model has none."""
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == BUFFER_NAME.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    return b""


def _normalization(tensors: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    for unit in tensors[0].records(TENSOR_UNITS) if tensors else ():
        if unit.number(UNIT_TYPE, number_types.Uint8Flags) == UNIT_IS_NORMALIZATION:
            options = unit.record(UNIT_OPTIONS)
            return options.array(NORMALIZATION_MEAN, "<f4"), options.array(NORMALIZATION_STD, "<f4")
    return np.zeros(1, "float32"), np.ones(1, "float32")


def _labels(tensors: list[Record], files: dict[str, bytes]) -> tuple[str, ...]:
    for tensor in tensors:
        for file in tensor.records(TENSOR_FILES):
            kind = file.number(FILE_TYPE, number_types.Int8Flags)
            if kind in (FILE_AXIS_LABELS, FILE_VALUE_LABELS) and file.text(FILE_NAME) in files:
                return tuple(files[file.text(FILE_NAME)].decode().splitlines())
    return ()


def _anchors(files: dict[str, bytes]) -> np.ndarray | None:
    if ANCHORS_FILE not in files:
        return None
    lines = files[ANCHORS_FILE].decode().splitlines()
    if not lines or lines[0] != ANCHORS_HEADER:
        fail(ANCHORS_FILE, expected=ANCHORS_HEADER, got=lines[0] if lines else "nothing", do="Export again.")
    return np.array([line.split(",") for line in lines[1:]], "float32").reshape(-1, 4)


def read_metadata(content: bytes) -> FileMetadata:
    """Reads the metadata of a TFLite file.

    Raises:
      MkdError: if there are none, or they are damaged.
    """
    try:
        buffer, files = metadata_buffer(content), packed_files(content)
        if not buffer:
            raise MkdError("metadata: expected those of TFLite, got none. Export the model with mkd_tf.")
        graph = next(Record.root(buffer).records(MODEL_SUBGRAPHS))
        inputs, outputs = list(graph.records(SUBGRAPH_INPUTS)), list(graph.records(SUBGRAPH_OUTPUTS))
        mean, std = _normalization(inputs)
        names = tuple(t.text(TENSOR_NAME) for t in outputs)
        facts = FileFacts.from_json(files[FACTS_FILE].decode()) if FACTS_FILE in files else None
        return FileMetadata(mean, std, names, _labels(outputs, files), _anchors(files), facts)
    except MkdError:
        raise
    # A damaged buffer can raise anything: offsets beyond its end, bytes that are not text or numbers.
    except Exception as error:
        raise MkdError(f"metadata: damaged ({type(error).__name__}: {error}). Export again.") from None
