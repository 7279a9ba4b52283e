"""How images are assigned to splits: lists, shares, seeds, near-duplicates."""

import collections
import logging

import numpy as np
import pytest
from PIL import Image

from mkd_tf.data.sources import examples
from mkd_tf.data.sources.voc_folder import VocFolder
from mkd_tf.data.sources.voc_splits import seeded_split
from tests.data.sources.voc_maker import VocMaker, noise_image

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


@pytest.fixture
def voc(tmp_path):
    return VocMaker(tmp_path / "folder")


def singles(count):
    return [[f"p{n:03d}"] for n in range(count)]


def ids(dataset):
    return {split: dataset.split(split).ids for split in dataset.split_names}


def test_shares_are_met_and_every_image_is_dealt_once():
    assigned = seeded_split(singles(100), SHARES, 0)
    assert {split: len(names) for split, names in assigned.items()} == {
        "train": 70,
        "validation": 15,
        "test": 15,
    }
    assert sorted(sum(assigned.values(), [])) == [name for (name,) in singles(100)]


def test_seed_decides_and_order_does_not():
    groups = singles(50)
    assert seeded_split(groups, SHARES, 1) == seeded_split(groups[::-1], SHARES, 1)
    assert seeded_split(groups, SHARES, 1) != seeded_split(groups, SHARES, 2)


def test_small_sets_fill_every_split_they_can():
    assert list(seeded_split(singles(1), SHARES, 0)) == ["train"]
    assert list(seeded_split(singles(2), SHARES, 0)) == ["train", "validation"]
    for count in range(3, 12):
        assert list(seeded_split(singles(count), SHARES, 0)) == list(SHARES)


def test_groups_stay_together():
    groups = [[f"g{g}_{n}" for n in range(1 + g % 4)] for g in range(30)]
    assigned = seeded_split(groups, SHARES, 3)
    for group in groups:
        assert sum(bool(set(group) & set(names)) for names in assigned.values()) == 1
    sizes = {split: len(names) / 73 for split, names in assigned.items()}
    assert sizes == pytest.approx(SHARES, abs=0.05)


def test_a_fixed_camera_is_cut_into_runs_of_neighbours():
    frames = [f"frame{n:03d}" for n in range(100)]
    assigned = seeded_split([frames], SHARES, 0)
    assert {split: len(names) for split, names in assigned.items()} == {
        "train": 70,
        "validation": 15,
        "test": 15,
    }
    side = {name: split for split, names in assigned.items() for name in names}
    changes = sum(side[a] != side[b] for a, b in zip(frames, frames[1:], strict=False))
    assert changes < 20


def test_copies_of_an_image_lie_on_one_side(voc):
    for number in range(24):
        voc.add(f"p{number:02d}", seed=number)
    for number in range(0, 24, 3):  # a recompressed, smaller copy under a far-off name
        path = voc.image_path(f"z{number:02d}.jpg")
        noise_image(number).resize((56, 42)).save(path, quality=60)
        voc.annotate(f"z{number:02d}")
    dataset = VocFolder(voc.root)
    side = {name: split for split, names in ids(dataset).items() for name in names}
    assert len(side) == 32
    assert collections.Counter(side.values())["train"] in range(20, 25)
    for number in range(0, 24, 3):
        assert side[f"p{number:02d}"] == side[f"z{number:02d}"]


def test_frames_of_a_slow_video_lie_on_one_side(voc):
    """A scene drifts by a pixel a frame: neighbours are alike, the ends need not be."""
    for scene in range(6):
        wide = np.asarray(noise_image(scene, 320, 200))
        for frame in range(4):
            name = f"frame{frame}_scene{scene}"
            Image.fromarray(wide[:, frame : frame + 300]).save(voc.image_path(f"{name}.png"))
            voc.annotate(name)
    dataset = VocFolder(voc.root, classes=["cat"])
    side = {name: split for split, names in ids(dataset).items() for name in names}
    for scene in range(6):
        assert len({side[f"frame{frame}_scene{scene}"] for frame in range(4)}) == 1


def test_listing_order_of_the_file_system_does_not_matter(voc, monkeypatch):
    for number in range(12):
        voc.add(f"p{number}", seed=number)
    forward = ids(VocFolder(voc.root, split_seed=5))
    monkeypatch.setattr(examples, "sorted", lambda items: list(items)[::-1], raising=False)
    assert ids(VocFolder(voc.root, split_seed=5)) == forward
    monkeypatch.undo()
    assert ids(VocFolder(voc.root, split_seed=6)) != forward


def test_lists_decide_in_their_forms(voc):
    for name in ("a", "b", "c", "my cat", "other"):
        voc.add(name)
    voc.write_list("train", "\ufeffa", "", "b.JPG  ", "a")
    voc.write_list("validation", "c 1")
    voc.write_list("test", "my cat")
    expected = {"train": ["a", "b"], "validation": ["c"], "test": ["my cat"]}
    assert ids(VocFolder(voc.root)) == expected


def test_missing_validation_is_taken_out_of_train_and_said(voc, caplog):
    names = [f"p{n:02d}" for n in range(20)]
    for number, name in enumerate(names):
        voc.add(name, seed=number)
    voc.write_list("train", *names[:16])
    voc.write_list("test", *names[16:])
    with caplog.at_level(logging.INFO):
        dataset = VocFolder(voc.root, fractions=(0.6, 0.2, 0.2))
    assert "No list for validation: taken out of train" in caplog.text
    split = ids(dataset)
    assert split["test"] == names[16:]
    assert len(split["validation"]) == 4
    assert sorted(split["train"] + split["validation"]) == names[:16]
    assert split == ids(VocFolder(voc.root, fractions=(0.6, 0.2, 0.2)))
    assert "validation" not in ids(VocFolder(voc.root, fractions=(1, 0, 0)))


def test_copies_across_given_lists_are_told(voc, caplog):
    voc.add("a", seed=1)
    voc.add("b", seed=2)
    voc.add("copy_of_a", seed=1)
    voc.write_list("train", "a")
    voc.write_list("val", "b")
    VocFolder(voc.root)
    assert "Near-copies" not in caplog.text
    voc.write_list("test", "copy_of_a")
    VocFolder(voc.root)
    assert "Near-copies lie on both sides of the split" in caplog.text
    assert "of validation and test 1 resemble a training image, as copy_of_a does a" in caplog.text
