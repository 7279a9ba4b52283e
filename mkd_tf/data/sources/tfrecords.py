"""Random access to TFRecord files, which tfds itself reads from front to back only.

A record is its length (8 bytes), a checksum of that (4), the content, a checksum of
the content (4); https://www.tensorflow.org/tutorials/load_data/tfrecord. Only the lengths
are read at first: a set of 118,000 images takes seconds and 3 MB.
"""

import os
import struct
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import fail

_LENGTH, _CHECKSUM = 8, 4


class TfRecords(Sequence[bytes]):
    """The records of several files as one sequence; safe to read from several threads.

    Args:
      paths: of the files, in order.

    Raises:
      MkdError: if a file is missing or ends within a record.
    """

    def __init__(self, paths: Sequence[Path]):
        found = [_index(path) for path in paths]
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        weakref.finalize(self, _close, self._files)
        self._file = np.repeat(np.arange(len(paths)), [len(index) for index in found])
        self._place = np.concatenate([np.zeros((0, 2), "int64"), *found])

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        offset, length = self._place[index].tolist()
        return os.pread(self._files[self._file[index]], length, offset)


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def _index(path: Path) -> np.ndarray:
    """Returns offset and length of each record's content, `[R, 2]` int64."""
    places, where, do = [], f"records {path}", "Prepare the set again."
    try:
        with open(path, "rb", buffering=0) as stream:
            size, end = os.fstat(stream.fileno()).st_size, 0
            while end < size:
                header = os.pread(stream.fileno(), _LENGTH, end)
                # Padding makes a length that the file cuts off huge, so that it is noticed below.
                (length,) = struct.unpack("<Q", header.ljust(_LENGTH, b"\xff"))
                places.append((end + _LENGTH + _CHECKSUM, length))
                end += _LENGTH + _CHECKSUM + length + _CHECKSUM
    except OSError as error:
        fail(where, expected="a readable file", got=str(error.strerror), do=do)
    if end > size:
        got = f"a record that ends {end - size} bytes behind it"
        fail(where, expected=f"{size} bytes of whole records", got=got, do=do)
    return np.array(places, "int64").reshape(-1, 2)
