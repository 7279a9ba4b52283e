"""Backups: whole or not there, the newest counts, and what does not fit changes nothing."""

import os

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.training import backup
from mkd_tf.training.backup import arrays_of, load_backup, restore, save_backup
from tests.records import STATE


def owners(seed=0, shape=(2, 3)):
    rng = np.random.default_rng(seed)
    make = [keras.Variable(rng.normal(size=s).astype("float32")) for s in (shape, (4,), ())]
    return {"student": make[:2], "optimizer": [make[2], keras.Variable(7, dtype="int64", trainable=False)]}


def values(held):
    return [np.array(v) for variables in held.values() for v in variables]


def save(folder, epoch, held=None, **state):
    save_backup(folder, epoch, arrays_of(held or owners(epoch)), STATE | {"epoch": epoch} | state)


def test_all_comes_back_bit_by_bit(tmp_path):
    held = owners(seed=1)
    save(tmp_path, 3, held, rows=[{"total": 0.5, "val_AP": None}], best=1.5)
    found = load_backup(tmp_path)
    expected = {"epoch": 3, "rows": [{"total": 0.5, "val_AP": None}], "best": 1.5}
    assert found.state == {"schema": 1} | STATE | expected
    others = owners(seed=2)
    restore(others, found.arrays, tmp_path)
    for a, b in zip(values(held), values(others), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_no_backup_is_none(tmp_path):
    assert load_backup(tmp_path / "none") is None
    assert load_backup(tmp_path) is None


def test_two_generations_are_kept(tmp_path):
    for epoch in (9, 10, 11):
        save(tmp_path, epoch)
    assert sorted(os.listdir(tmp_path)) == ["epoch_000010", "epoch_000011"]
    assert load_backup(tmp_path).state["epoch"] == 11


def test_steps_of_an_epoch_come_after_its_beginning_and_before_its_end(tmp_path):
    save(tmp_path, 3)
    for step in (5, 40):
        save(tmp_path, 3, step=step)
        assert load_backup(tmp_path).state["step"] == step
    assert sorted(os.listdir(tmp_path)) == ["epoch_000003_step_000005", "epoch_000003_step_000040"]
    save(tmp_path, 4)
    assert load_backup(tmp_path).state["epoch"] == 4


@pytest.mark.parametrize("file", ["arrays.npz", "state.json", "SHA256SUMS"])
def test_with_a_damaged_newest_the_one_before_counts_and_it_is_told(tmp_path, file):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "epoch_000002" / file
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    found = load_backup(tmp_path)
    assert found.state["epoch"] == 1
    assert found.notice.startswith("epoch_000002 was damaged (")
    assert found.notice.endswith("): epoch_000001 is used")
    assert os.listdir(tmp_path) == ["epoch_000001"]


def test_every_flipped_bit_is_found(tmp_path):
    save(tmp_path, 1)
    rng = np.random.default_rng(0)
    for file in ("arrays.npz", "state.json"):
        path = tmp_path / "epoch_000001" / file
        whole = path.read_bytes()
        for place in rng.integers(0, 8 * len(whole), 40):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            with pytest.raises(MkdError, match="damaged backup"):
                load_backup(tmp_path)
        path.write_bytes(whole)


def test_a_backup_of_before_has_no_hashes_and_is_read(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "epoch_000001" / "SHA256SUMS").unlink()
    assert load_backup(tmp_path).state["epoch"] == 1


def test_the_newest_whole_one_counts(tmp_path):
    save(tmp_path, 2)
    # A kill while the next one was written, in three stages of its being written.
    for part in ("epoch_000003.part", "epoch_000004.part"):
        (tmp_path / part).mkdir()
    (tmp_path / "epoch_000004.part" / "arrays.npz").write_bytes(b"half of")
    assert load_backup(tmp_path).state["epoch"] == 2
    save(tmp_path, 3)
    assert load_backup(tmp_path).state["epoch"] == 3
    # A kill after the rename and before the older one was removed.
    (tmp_path / "epoch_000003").rename(tmp_path / "aside")
    save(tmp_path, 2)
    (tmp_path / "aside").rename(tmp_path / "epoch_000003")
    assert load_backup(tmp_path).state["epoch"] == 3


def test_epochs_are_ordered_as_numbers(tmp_path):
    save(tmp_path, 1_000_000)
    (tmp_path / "epoch_1000000").rename(tmp_path / "aside")
    save(tmp_path, 999_999)
    (tmp_path / "aside").rename(tmp_path / "epoch_1000000")
    assert load_backup(tmp_path).state["epoch"] == 1_000_000


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_failure_while_writing_leaves_the_older_one(tmp_path, monkeypatch, step):
    save(tmp_path, 1)
    rename = os.replace

    def killed(source, *arguments):
        if step == "replace" and not os.path.isdir(source):
            return rename(source, *arguments)  # Files are renamed too: let them be.
        raise KeyboardInterrupt

    monkeypatch.setattr(backup.schemas if step == "write" else os, step, killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert load_backup(tmp_path).state["epoch"] == 1
    save(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == ["epoch_000001", "epoch_000002"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("arrays.npz", b""),
        ("arrays.npz", b"no zip"),
        ("arrays.npz", None),
        ("arrays.npz", "cut"),
        ("arrays.npz", "flipped"),
        ("state.json", b""),
        ("state.json", b"\xff\xfe{"),
        ("state.json", None),
    ],
)
def test_damage_is_told(tmp_path, file, content):
    save(tmp_path, 5, {"a": [keras.Variable(np.arange(1000, dtype="float32"))]})
    path = tmp_path / "epoch_000005" / file
    whole = path.read_bytes()
    if content == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "flipped":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(MkdError, match="epoch_000005: damaged backup .* Delete .* to start its stage again"):
        load_backup(tmp_path)


@pytest.mark.parametrize("misfit", ["shape", "fewer", "more", "names"])
def test_what_does_not_fit_is_told_and_assigns_nothing(tmp_path, misfit):
    held = owners()
    arrays = arrays_of(owners(seed=9, shape=(2, 4) if misfit == "shape" else (2, 3)))
    if misfit == "fewer":
        del arrays["optimizer/1"]
    if misfit == "more":
        arrays["optimizer/2"] = np.zeros(1)
    if misfit == "names":
        arrays = {name.replace("student", "other"): value for name, value in arrays.items()}
    before = values(held)
    with pytest.raises(MkdError, match="backup .*: expected the 4 variables of this configuration, got"):
        restore(held, arrays, tmp_path)
    for a, b in zip(before, values(held), strict=True):
        np.testing.assert_array_equal(a, b)
