"""Arrays in files that a run reads back: written whole, with a hash that reading compares."""

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mkd_tf.checks import MkdError
from mkd_tf.files import atomic_write

DAMAGE = (
    *(EOFError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError),
    *(MemoryError, OverflowError, SyntaxError, struct.error, zlib.error, BadZipFile),
)
"""What reading a damaged archive raises: with a flipped bit nearly anything."""
_HASH = "sha256"


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays by name, whole or not at all."""
    with atomic_write(path) as stream:
        np.savez(stream, allow_pickle=False, **arrays, **{_HASH: np.array(digest_of(arrays))})


def read_arrays(path: Path, what: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns what `write_arrays` wrote under `names`.

    Raises:
      MkdError: if the file is damaged; `what` says what it holds. Files of before have no hash.
    """
    try:
        found = load_arrays(path)
        stored = found.pop(_HASH, None)
        if stored is not None and str(stored) != digest_of(found):
            raise ValueError("it differs from its hash")
        return {name: found[name] for name in names}
    except DAMAGE as error:
        raise MkdError(f"{path}: damaged {what} ({error}).") from None


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an archive by name; raises one of `DAMAGE` if it cannot be read."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        # What is written here is not compressed: no part is larger than the file.
        if sum(part.file_size for part in stored.zip.infolist()) > path.stat().st_size:
            raise ValueError("it unpacks to more than was written")
        return {name: stored[name] for name in stored.files}


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a hash of arrays, of their names and types."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
