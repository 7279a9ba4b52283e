"""Random access to TFRecord files."""

import concurrent.futures
import gc
import os

import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.tfrecords import TfRecords

CONTENTS = [b"first", b"", b"x" * 70_000, b"last"]


def write(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path


def test_records_of_several_files_are_one_sequence(tmp_path):
    paths = [
        write(tmp_path / "a", CONTENTS[:3]),
        write(tmp_path / "b", []),
        write(tmp_path / "c", CONTENTS[3:]),
    ]
    records = TfRecords(paths)
    assert len(records) == 4
    assert [records[i] for i in (3, 0, 2, 1)] == [CONTENTS[i] for i in (3, 0, 2, 1)]
    assert list(records) == CONTENTS and records[-1] == b"last" and records[1:3] == CONTENTS[1:3]
    with pytest.raises(IndexError):
        records[4]
    assert len(TfRecords([])) == 0


def test_threads_do_not_disturb_each_other(tmp_path):
    contents = [bytes([i]) * (i + 1) for i in range(200)]
    records = TfRecords([write(tmp_path / "a", contents)])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(records.__getitem__, range(200))) == contents


def test_files_are_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    records = TfRecords([write(tmp_path / "a", CONTENTS)] * 5)
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del records
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("cut", [1, 10, 18, 70_030])
def test_a_cut_file_is_told(tmp_path, cut):
    path = write(tmp_path / "a", CONTENTS)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        MkdError, match="records .*a: expected .* bytes of whole records, got a record that ends"
    ):
        TfRecords([path])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MkdError, match="expected a readable file, got No such file or directory"):
        TfRecords([tmp_path / "a"])
