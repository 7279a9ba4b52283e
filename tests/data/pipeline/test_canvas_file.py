"""Images beyond memory: decoded once, then read from a file without a name, unless its disk is full."""

import os

import numpy as np
import pytest

from mkd_tf.data.base import element
from mkd_tf.data.pipeline import canvas_file
from mkd_tf.data.pipeline.canvas_file import CanvasFile
from mkd_tf.data.pipeline.image_store import ImageStore


class Counted(list):
    """Elements that count how often they are decoded."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


@pytest.fixture
def elements():
    rng = np.random.default_rng(0)
    empty = np.zeros((0, 4), "float32"), np.zeros(0, "int32")
    return Counted(element(rng.integers(0, 256, (20, 30, 3), "uint8"), f"{i}", *empty) for i in range(9))


def test_each_image_is_decoded_once_and_reads_the_same(elements, tmp_path):
    plain = ImageStore([elements], 32, "stretch", 1.0)
    elements.reads = 0
    stored = ImageStore([elements], 32, "stretch", 0.0, folder=tmp_path)
    assert stored.is_on_disk and not stored.is_cached and not plain.is_on_disk
    order = np.array([3, 8, 0, 3])
    for _ in range(3):
        np.testing.assert_array_equal(stored.images(order), plain.images(order))
    assert elements.reads == 9
    assert not os.listdir(tmp_path)  # the file has no name


def test_only_what_was_used_takes_disk(tmp_path):
    made = CanvasFile(tmp_path, 10_000, 64)
    image, found = np.ones((64, 64, 3), "uint8"), np.empty((64, 64, 3), "uint8")
    assert not made.read(9_999, found)
    made.write(9_999, image)
    assert made.read(9_999, found)
    np.testing.assert_array_equal(found, image)
    assert os.fstat(made._file).st_blocks * 512 < 1 << 20


def test_a_full_disk_ends_the_caching_and_nothing_else(elements, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(canvas_file.os, "pwrite", full)
    stored = ImageStore([elements], 32, "stretch", 0.0, folder=tmp_path)
    expected = ImageStore([elements], 32, "stretch", 1.0).images(np.arange(9))
    for _ in range(2):
        np.testing.assert_array_equal(stored.images(np.arange(9)), expected)
    assert caplog.text.count("The disk of decoded images is full (No space left on device)") == 1


def test_at_most_half_of_the_free_disk(elements, tmp_path, monkeypatch):
    size = 9 * 40 * 40 * 3
    for free, is_on_disk in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(canvas_file.shutil, "disk_usage", lambda _, free=free: _Usage(free))
        assert ImageStore([elements], 32, "stretch", 0.0, folder=tmp_path).is_on_disk == is_on_disk
    monkeypatch.undo()
    assert not ImageStore([elements], 32, "stretch", 0.0, folder=tmp_path / "missing").is_on_disk


class _Usage:
    def __init__(self, free: int):
        self.free = free
