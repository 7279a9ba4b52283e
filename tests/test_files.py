"""Files appear whole or not at all."""

import errno
import json
import os
import stat

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.files import atomic_write, storing, write_bytes, write_json


def test_bytes_replace_a_file_and_make_its_folder(tmp_path):
    path = tmp_path / "new" / "a.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]


def test_an_error_leaves_the_old_file_and_nothing_beside(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_old_file_stays_until_the_block_ends(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    old = os.umask(0o022)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_json_of_numpy_values(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "c": (1, None), "ü": "–"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 0.5, "b": [0, 1], "c": [1, None], "ü": "–"}


@pytest.mark.parametrize("value", [float("nan"), np.float64("inf"), {1, 2}])
def test_what_json_cannot_hold_is_told_and_not_written(tmp_path, value):
    with pytest.raises(MkdError, match="a.json: expected finite numbers"):
        write_json(tmp_path / "a.json", {"a": value})
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_told(tmp_path):
    with pytest.raises(MkdError, match="got a folder"):
        write_bytes(tmp_path, b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MkdError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "a", b"")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_an_error_of_the_storage_names_the_file_and_the_remedy(tmp_path, code):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    match = f"a.bin: cannot be written: {os.strerror(code)}. .*unchanged"
    with pytest.raises(MkdError, match=match), atomic_write(path):
        raise OSError(code, os.strerror(code))
    # HDF5 says it in words alone.
    with pytest.raises(MkdError, match="model: cannot be written"), storing("model"):
        raise OSError(f"Unable to write (errno = {code}, error message = '{os.strerror(code)}')")
    with pytest.raises(IsADirectoryError), storing("model"):
        raise IsADirectoryError(errno.EISDIR, "another error")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]
