"""Writing files so that a kill, a full disk or an error never leaves half of one.

Everything is written beside its destination and renamed over it: a reader sees
the old file or the new one, whole.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mkd_tf.checks import MkdError, fail

_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose another disk",
    errno.EDQUOT: "Free some space, or choose another disk",
    errno.EFBIG: "Choose another disk",
    errno.EROFS: "Choose a folder you may write",
    errno.EACCES: "Choose a folder you may write",
    errno.EPERM: "Choose a folder you may write",
    errno.EIO: "Check the disk",
}
"""What to do about an error of the storage; earlier files are whole whatever it is."""


@contextlib.contextmanager
def storing(path: str | Path) -> Iterator[None]:
    """Turns an error of the storage within into one that names `path` and the remedy.

    Raises:
      MkdError: for no space, no permission, a read-only or a broken disk. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        # Libraries in C raise OSError with the reason in their text alone.
        codes = [code for code in _REMEDIES if error.errno == code or os.strerror(code) in str(error)]
        if not codes:
            raise
        raise MkdError(
            f"{path}: cannot be written: {os.strerror(codes[0])}. {_REMEDIES[codes[0]]}; "
            "what was there before is unchanged."
        ) from error


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a new file that becomes `path` when the block ends well, and vanishes when it does not.

    Missing folders are made. The bytes are on the disk before the name is.

    Raises:
      MkdError: if `path` is a folder or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        fail(str(path), expected="the name of a file", got="a folder", do="Choose another name.")
    # Not tempfile: its files are readable by their owner alone, and stay so when renamed.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(temporary, "xb")  # noqa: SIM115, closed below
    except OSError as error:
        raise MkdError(
            f"{path}: cannot be written: {error.strerror}. Choose a folder you may write."
        ) from None
    try:
        with storing(path), stream:
            # The lock keeps `clear_parts` of another process from removing the file.
            _hold(stream)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _hold(stream: BinaryIO) -> bool:
    """Locks an open file until it is closed; returns False if another process holds the lock."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # Not every file system has locks.
    return True


def clear_parts(folder: Path) -> None:
    """Removes what killed processes left half written below `folder`, and nothing that is being written."""
    for part in [*folder.rglob(".*.part"), *folder.rglob(".*.part.keras")]:
        with contextlib.suppress(FileNotFoundError), open(part, "rb") as stream:
            if _hold(stream):
                part.unlink()


def sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk, where the file system can."""
    # Without it a power cut can undo a rename. Not every file system lets a folder be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hash_of(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all; raises as `atomic_write` does."""
    with atomic_write(path) as stream:
        stream.write(data)


def _plain(value: Any) -> Any:
    # NumPy's scalars and arrays; whatever else json cannot take has no such method either.
    try:
        return value.tolist()
    except AttributeError:
        raise TypeError(f"a {type(value).__name__} has no form in JSON") from None


def to_json(value: Any, where: str, indent: int | None = None, allow_nan: bool = False) -> str:
    """Returns `value` as strict JSON; NumPy scalars and arrays become plain numbers and lists.

    Raises:
      MkdError: for NaN, infinity or an object without a form in JSON. `where` names the place.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=allow_nan, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        fail(
            where,
            expected="finite numbers, strings, lists and dicts",
            got=str(error),
            do="Correct the value.",
        )


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` to `path` as indented JSON; raises as `to_json` and `atomic_write` do."""
    text = to_json(value, str(path), indent=2)
    write_bytes(path, (text + "\n").encode("utf-8"))
