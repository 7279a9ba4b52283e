"""The procedural data set: what it draws, and how it is kept on disk."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data import DATASETS
from mkd_tf.data.sources import shapes
from mkd_tf.data.sources.shapes import Shapes
from mkd_tf.data.sources.shapes_drawing import CLASS_NAMES, _cover, _figure, _place, draw_image

COUNTS = {"train": 6, "validation": 3, "test": 4, "unlabelled": 5}


def draw(number, size=96):
    return draw_image(np.random.default_rng([7, number]), size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def dataset(folder):
    return Shapes(**COUNTS, size=64, data_dir=folder)


class TestDrawing:
    def test_what_is_returned(self):
        image, boxes, labels = draw(0)
        assert image.shape == (96, 96, 3)
        assert image.dtype == np.uint8
        assert boxes.shape == (len(labels), 4)
        assert labels.dtype == np.int32

    def test_image_depends_on_its_generator_alone(self):
        np.random.seed(1)
        first = draw(3)
        np.random.seed(2)
        draw(4)
        for a, b in zip(first, draw(3), strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(first[0], draw(4)[0])

    def test_boxes_lie_inside_and_scale_with_the_image(self):
        sides = []
        for number in range(60):
            _, boxes, _ = draw(number)
            assert np.all(boxes >= 0)
            assert np.all(boxes <= 1)
            sides += list(np.max(boxes[:, 2:] - boxes[:, :2], axis=1))
        assert 0.16 < min(sides) < 0.2  # 28 of 160 px
        assert 0.45 < max(sides) < 0.53  # 84 of 160 px

    def test_all_classes_occur_and_some_images_are_empty(self):
        labels = [draw(number)[2] for number in range(150)]
        counts = np.bincount(np.concatenate(labels), minlength=len(CLASS_NAMES))
        assert counts.min() > 0.6 * counts.mean()
        assert 1 <= sum(len(row) == 0 for row in labels) <= 15
        assert max(map(len, labels)) == 6

    @pytest.mark.parametrize("label", range(len(CLASS_NAMES)))
    def test_box_is_that_of_the_mask(self, label):
        rng = np.random.default_rng(label)
        for _ in range(30):
            mask, cut, box = _figure(rng, label, 160)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            outer = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
            assert np.all(np.abs(box - outer) < 1)
            assert mask[[0, -1]].max() == mask[:, [0, -1]].max() == 0  # the tile cuts nothing off
            share = cut.sum() / (mask.sum() + cut.sum())
            assert (0.04 < share < 0.4) if label % 2 else share == 0

    def test_what_would_hide_an_object_is_not_laid_over_it(self):
        layer = _place(np.random.default_rng(0), 0, 160)
        before = layer.visible.sum()
        assert not _cover([layer], np.ones_like(layer.mask))
        assert layer.visible.sum() == before
        half = layer.mask.copy()
        half[: int(layer.box[[0, 2]].mean())] = 0
        assert _cover([layer], half)
        assert not _cover([layer], layer.mask - half)  # both halves together
        assert 0.3 < layer.visible.sum() / before < 0.7

    def test_what_would_hide_the_cut_is_not_laid_over_it(self):
        layer = _place(np.random.default_rng(0), 1, 160)
        assert not _cover([layer], (layer.cut > 0).astype("float32"))

    def test_colour_says_nothing_about_the_class(self):
        """Mean colours of the boxes of each class differ by less than chance would allow for 4 sigma."""
        colours = [[] for _ in CLASS_NAMES]
        for number in range(120):
            image, boxes, labels = draw(number)
            for box, label in zip(boxes, labels, strict=True):
                y, x = (int((box[k] + box[k + 2]) / 2 * 96) for k in (0, 1))
                colours[label].append(image[y, x].astype(float))
        means = np.array([np.mean(rows, axis=0) for rows in colours])
        error = np.array([np.std(rows, axis=0) / len(rows) ** 0.5 for rows in colours])
        assert np.all(np.abs(means - means.mean(0)) < 4 * error)


class TestSplits:
    def test_contract(self, dataset):
        assert dataset.name == "shapes"
        assert dataset.class_names == CLASS_NAMES
        assert dataset.split_names == tuple(COUNTS)
        for split, count in COUNTS.items():
            elements = list(dataset.split(split))
            assert len(elements) == len(dataset.split(split)) == count
            assert [e["image/id"] for e in elements] == dataset.split(split).ids
            assert {e["is_labelled"] for e in elements} == {split != "unlabelled"}
            for e in elements:
                assert e["image"].shape == (64, 64, 3)
                assert e["image"].dtype == np.uint8
                assert e["objects"]["bbox"].shape == (len(e["objects"]["label"]), 4)
                assert e["objects"]["bbox"].dtype == np.float32
                assert e["objects"]["label"].dtype == np.int32

    def test_unlabelled_objects_are_not_revealed(self, dataset):
        assert all(e["objects"]["label"].size == 0 for e in dataset.split("unlabelled"))
        assert any(e["objects"]["label"].size for e in dataset.split("train"))

    def test_random_access(self, dataset):
        train = dataset.split("train")
        np.testing.assert_array_equal(train[5]["image"], train[-1]["image"])
        assert [e["image/id"] for e in train[2:4]] == ["train_00002", "train_00003"]
        with pytest.raises(IndexError):
            train[6]

    def test_what_is_stored_is_what_was_drawn(self, dataset):
        image, boxes, labels = draw_image(np.random.default_rng([0, 0, 2]), 64)
        stored = dataset.split("train")[2]
        np.testing.assert_allclose(stored["objects"]["bbox"], boxes, atol=1e-6)
        np.testing.assert_array_equal(stored["objects"]["label"], labels)
        assert (
            np.abs(stored["image"].astype(int) - image).mean() < 8
        )  # JPEG on grain; another image differs by 40

    def test_fewer_images_are_a_prefix_and_another_seed_others(self, dataset, tmp_path):
        few = Shapes(train=2, validation=0, test=0, unlabelled=0, size=64, data_dir=tmp_path)
        assert few.split_names == ("train",)
        for a, b in zip(few.split("train"), dataset.split("train"), strict=False):
            np.testing.assert_array_equal(a["image"], b["image"])
        other = Shapes(train=2, validation=0, test=0, unlabelled=0, size=64, seed=1, data_dir=tmp_path)
        assert not np.array_equal(other.split("train")[0]["image"], few.split("train")[0]["image"])

    def test_splits_share_no_image(self, dataset):
        images = {e["image"].tobytes() for split in COUNTS for e in dataset.split(split)}
        assert len(images) == sum(COUNTS.values())

    def test_unknown_split(self, dataset):
        with pytest.raises(MkdError, match="a split among train, validation, test, unlabelled, got 'val'"):
            dataset.split("val")

    @pytest.mark.parametrize(
        ("argument", "value", "least"),
        [("train", 0, 1), ("test", -1, 0), ("size", 32, 64), ("seed", 1.5, 0), ("unlabelled", True, 0)],
    )
    def test_illegal_arguments(self, argument, value, least):
        with pytest.raises(MkdError, match=f"shapes: {argument}: expected an integer from {least} on"):
            Shapes(**{argument: value})
        with pytest.raises(MkdError, match="expected one of fail, skip"):
            Shapes(on_bad_example="raise")


class TestPreparation:
    def test_second_use_reads_and_draws_nothing(self, dataset, folder, monkeypatch):
        monkeypatch.setattr("mkd_tf.data.sources.shapes_builder.draw_image", None)
        spec = "shapes(train=6, validation=3, test=4, unlabelled=5, size=64)"
        start = time.perf_counter()
        again = DATASETS.build(spec, on_bad_example="fail", data_dir=str(folder))
        assert time.perf_counter() - start < 2
        np.testing.assert_array_equal(again.split("test")[1]["image"], dataset.split("test")[1]["image"])

    def test_says_nothing_but_its_progress(self, tmp_path, capfd, caplog):
        Shapes(train=2, validation=0, test=0, unlabelled=0, size=64, data_dir=tmp_path)
        out, err = capfd.readouterr()
        assert out == ""
        assert "Drawing shapes: 100%" in err
        assert all(
            line.strip().startswith("Drawing shapes") for line in err.replace("\r", "\n").split("\n") if line
        )
        assert caplog.text == ""

    def test_an_error_leaves_nothing_that_is_read_later(self, tmp_path, monkeypatch):
        arguments = {"train": 4, "validation": 0, "test": 0, "unlabelled": 0, "size": 64}

        def stop_at_third(rng, size, calls=[]):  # noqa: B006
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return draw_image(rng, size)

        with monkeypatch.context() as patch:
            patch.setattr("mkd_tf.data.sources.shapes_builder.draw_image", stop_at_third)
            with pytest.raises(KeyboardInterrupt):
                Shapes(**arguments, data_dir=tmp_path)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
        assert len(Shapes(**arguments, data_dir=tmp_path).split("train")) == 4

    def test_a_kill_leaves_nothing_that_is_read_later(self, tmp_path):
        arguments = {"train": 200, "validation": 0, "test": 0, "unlabelled": 0, "size": 64}
        arguments["data_dir"] = str(tmp_path)
        code = f"from mkd_tf.data.sources.shapes import Shapes; Shapes(**{arguments!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/incomplete.*/*/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert list(tmp_path.glob("*/incomplete.*/*/*")), "the kill came too late or too early"
        assert not list(tmp_path.glob("*/1.0.0"))
        assert len(Shapes(**arguments).split("train")) == 200

    def test_a_second_process_may_be_faster(self, tmp_path, monkeypatch):
        """Both draw, one renames first; the other takes what is there."""
        arguments = {
            "train": 3,
            "validation": 0,
            "test": 0,
            "unlabelled": 0,
            "size": 64,
            "data_dir": tmp_path,
        }
        rename = shapes._rename

        def other_first(source, target):
            monkeypatch.setattr(shapes, "_rename", rename)
            Shapes(**arguments)
            rename(source, target)

        monkeypatch.setattr(shapes, "_rename", other_first)
        assert len(Shapes(**arguments).split("train")) == 3
        assert not list(tmp_path.rglob("incomplete.*"))

    def test_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(MkdError, match="expected to write .* Set --data_dir to a folder"):
            Shapes(train=2, size=64, data_dir=tmp_path / "file")

    def test_tfds_is_silent(self, tmp_path, caplog):
        with caplog.at_level("INFO", "absl"):
            Shapes(train=1, validation=0, test=0, unlabelled=0, size=64, data_dir=tmp_path).split("train")
        assert not [record.message for record in caplog.records if record.name == "absl"]

    def test_importing_the_table_leaves_tfds_for_who_needs_it(self):
        code = "import sys, mkd_tf.data\nassert 'tensorflow_datasets' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_full_size_is_drawn_in_good_time(tmp_path):
    start = time.process_time()
    dataset = Shapes(data_dir=tmp_path)
    assert time.process_time() - start < 30
    assert [len(dataset.split(s)) for s in dataset.split_names] == [400, 100, 200, 800]
