"""Arrays in files: all back as they were, or a damaged file is told."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.training.arrays import read_arrays, write_arrays

ARRAYS = {
    "rows": np.float32([[1, 2], [3, 4]]),
    "counts": np.int64([2, -1]),
    "empty": np.zeros((0, 6), "float32"),
}


def test_all_come_back(tmp_path):
    write_arrays(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz", "answers", list(ARRAYS))
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_file_without_a_hash_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", rows=ARRAYS["rows"])
    np.testing.assert_array_equal(
        read_arrays(tmp_path / "a.npz", "answers", ["rows"])["rows"], ARRAYS["rows"]
    )


@pytest.mark.parametrize("change", [{"rows": np.float32([[1, 2], [3, 5]])}, {"counts": np.int32([2, -1])}])
def test_other_values_than_the_hash_says_are_told(tmp_path, change):
    write_arrays(tmp_path / "a.npz", **ARRAYS)
    with np.load(tmp_path / "a.npz") as stored:
        held = {name: stored[name] for name in stored.files}
    np.savez(tmp_path / "a.npz", **(held | change))
    with pytest.raises(MkdError, match=r"a.npz: damaged answers \(it differs from its hash\)"):
        read_arrays(tmp_path / "a.npz", "answers", ["rows"])


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_archive_or_lacks_a_name_is_told(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MkdError, match="damaged answers"):
        read_arrays(path, "answers", ["rows"])
    write_arrays(path, **ARRAYS)
    with pytest.raises(MkdError, match="damaged answers"):
        read_arrays(path, "answers", ["others"])
