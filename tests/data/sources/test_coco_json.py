"""A user's COCO files: elements, categories, splits."""

import json
import logging
import zlib

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.data import DATASETS
from mkd_tf.data.base import annotation_of
from mkd_tf.data.sources.coco_json import CocoJson
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import all_ids, noise_image


@pytest.fixture
def coco(tmp_path):
    return CocoMaker(tmp_path)


def load(maker, **arguments):
    return CocoJson(maker.images, maker.write(), **arguments)


def ids(dataset):
    return {split: dataset.split(split).ids for split in dataset.split_names}


class TestReading:
    def test_element(self, coco):
        coco.add(1, "a.jpg", [16, 12, 16, 24], width=64, height=48)
        coco.annotate(1, category_id=9, bbox=[0, 0, 64, 24], iscrowd=1, area=700.5)
        coco.annotate(1, category_id=3, bbox=[1.5, 2, 10, 10], ignore=1, segmentation=[[1, 2, 3]])
        dataset = load(coco)
        assert dataset.name == "instances"
        assert dataset.class_names == ("cat", "dog")  # by id, 3 before 9, without the gap
        assert dataset.problems == ()
        (element,) = dataset.split("train")
        assert (element["image/id"], element["image"].shape) == ("a.jpg", (48, 64, 3))
        assert element["is_labelled"] is True
        objects = element["objects"]
        expected = [[0.25, 0.25, 0.75, 0.5], [0, 0, 0.5, 1], [2 / 48, 1.5 / 64, 12 / 48, 11.5 / 64]]
        np.testing.assert_allclose(objects["bbox"], expected, rtol=1e-6)
        np.testing.assert_array_equal(objects["label"], [0, 1, 0])
        np.testing.assert_array_equal(objects["is_crowd"], [False, True, False])
        np.testing.assert_array_equal(objects["is_difficult"], [False, False, True])
        np.testing.assert_array_equal(objects["area"], np.float32([np.nan, 700.5, np.nan]))

    def test_annotation_needs_no_image(self, coco):
        coco.add(1, "a.jpg", [16, 12, 16, 24])
        split = load(coco).split("train")
        whole = split[0]
        (coco.images / "a.jpg").unlink()
        found = annotation_of(split, 0)
        assert found["height_width"] == whole.pop("image").shape[:2]
        np.testing.assert_array_equal(found["objects"]["bbox"], whole["objects"]["bbox"])
        with pytest.raises(MkdError, match="a.jpg"):
            split[0]

    def test_boxes_are_those_of_the_displayed_image(self, coco):
        exif = Image.Exif()
        exif[0x0112] = 6
        coco.write_image("a.jpg", exif=exif)  # stored 64x48, displayed 48x64
        coco.list_image(1, "a.jpg", width=64, height=48)
        coco.annotate(1, bbox=[0, 32, 24, 32])
        for check in (True, False):
            (element,) = load(coco, check_images=check).split("train")
            assert element["image"].shape == (64, 48, 3)
            np.testing.assert_allclose(element["objects"]["bbox"], [[0.5, 0, 1, 0.5]])

    def test_image_without_annotations_is_a_negative_and_unlisted_ones_are_not_used(self, coco):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        coco.add(2, "empty.jpg")
        coco.write_image("unlisted.jpg")
        dataset = load(coco, fractions=(1, 0, 0))
        assert all_ids(dataset) == ["a.jpg", "empty.jpg"]
        negative = dataset.split("train")[1]
        assert negative["is_labelled"] is True and negative["objects"]["bbox"].shape == (0, 4)

    def test_ids_may_be_text_and_files_lie_in_subfolders(self, coco):
        coco.add("x1", "deep/er/a.png", [1, 1, 9, 9])
        (element,) = load(coco).split("train")
        assert element["image/id"] == "deep/er/a.png" and len(element["objects"]["label"]) == 1

    def test_table_builds_it_from_a_spec(self, coco):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        spec = f"coco_json(images={str(coco.images)!r}, annotations={str(coco.write())!r})"
        dataset = DATASETS.build(spec, on_bad_example="fail", data_dir=None)
        assert dataset.split_names == ("train",)

    def test_boxes_a_little_outside_are_clipped(self, coco):
        coco.add(1, "a.jpg", [-2, -0.5, 68, 50])
        (element,) = load(coco).split("train")
        np.testing.assert_allclose(element["objects"]["bbox"], [[0, 0, 1, 1]])

    def test_outlines_are_not_kept(self, coco, monkeypatch):
        kept = []
        parse = json.loads
        monkeypatch.setattr(
            "mkd_tf.data.sources.coco_content.json.loads",
            lambda text, **options: kept.append(text) or parse(text, **options),
        )
        coco.add(1, "a.jpg")
        coco.annotate(1, segmentation={"counts": [1, 2], "size": [48, 64]})
        load(coco)
        assert "counts" not in kept[0] and "bbox" in kept[0] and len(kept) == 1


class TestSplits:
    def two(self, tmp_path, second="val", count=6):
        train = CocoMaker(tmp_path, "train", "instances_train.json")
        other = CocoMaker(tmp_path, second, f"instances_{second}.json")
        for number in range(count):
            train.add(number, f"t{number}.jpg", [1, 1, 9, 9])
            other.add(number, f"v{number}.jpg", [1, 1, 9, 9])  # ids need to be unique in a file only
        return train, other

    def test_one_file_is_split_by_seed_and_keeps_copies_together(self, coco):
        for number in range(20):
            coco.add(number, f"p{number:02d}.jpg", [1, 1, 9, 9], seed=number)
        for number in range(0, 20, 4):
            coco.list_image(100 + number, f"z{number:02d}.jpg")
            path = coco.images / f"z{number:02d}.jpg"
            noise_image(number).resize((56, 42)).save(path, quality=60)
        found = ids(load(coco, split_seed=3))
        assert set(found) == {"train", "validation", "test"}
        assert len(found["train"]) > len(found["test"]) >= 2
        assert sum(map(len, found.values())) == 25
        side = {name: split for split, names in found.items() for name in names}
        assert all(side[f"p{n:02d}.jpg"] == side[f"z{n:02d}.jpg"] for n in range(0, 20, 4))
        assert ids(load(coco, split_seed=3)) == found != ids(load(coco, split_seed=4))

    def test_validation_file(self, tmp_path):
        train, val = self.two(tmp_path)
        found = ids(load(train, validation_images=val.images, validation_annotations=val.write()))
        assert found == {
            "train": [f"t{n}.jpg" for n in range(6)],
            "validation": [f"v{n}.jpg" for n in range(6)],
        }

    def test_test_file_alone_takes_validation_out_of_train(self, tmp_path, caplog):
        train, test = self.two(tmp_path, "test")
        with caplog.at_level(logging.INFO):
            dataset = load(train, test_images=test.images, test_annotations=test.write())
        assert "validation: taken out of train by seed 0" in caplog.text
        found = ids(dataset)
        assert found["test"] == [f"v{n}.jpg" for n in range(6)]
        assert sorted(found["train"] + found["validation"]) == [f"t{n}.jpg" for n in range(6)]
        assert found["validation"]

    def test_one_folder_serves_all_files_unless_said(self, coco):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        val = CocoMaker(coco.root, "images", "val.json")
        val.add(1, "b.jpg", [1, 1, 9, 9])
        assert ids(load(coco, validation_annotations=val.write())) == {
            "train": ["a.jpg"],
            "validation": ["b.jpg"],
        }

    def test_unlabelled_folder_without_what_is_listed(self, coco):
        for number in range(3):
            coco.add(number, f"p{number}.jpg", [1, 1, 9, 9])
        coco.write_image("bare.png")
        (coco.images / "notes.txt").write_text("ignored")
        dataset = load(coco, unlabelled_images=coco.images)
        (element,) = dataset.split("unlabelled")
        assert element["image/id"] == "bare.png" and element["is_labelled"] is False

    def test_a_listed_image_that_was_left_out_does_not_come_back_without_labels(self, coco):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        coco.add(2, "b.jpg", [1, 1, 9, 9], width=640, height=480)
        dataset = load(coco, unlabelled_images=coco.images, on_bad_example="skip")
        assert ids(dataset) == {"train": ["a.jpg"]}

    def test_unlabelled_copies_of_judged_images_are_dropped_unless_asked(self, tmp_path, caplog):
        train, test = self.two(tmp_path, "test")
        bare = CocoMaker(tmp_path, "bare")
        bare.write_image("copy.jpg", seed=zlib.crc32(b"v1.jpg"))
        bare.write_image("new.jpg")
        given = {
            "test_images": test.images,
            "test_annotations": test.write(),
            "unlabelled_images": bare.images,
        }
        assert ids(load(train, **given))["unlabelled"] == ["new.jpg"]
        assert "Left out 1 of 2 unlabelled images that resemble" in caplog.text
        assert "copy.jpg does v1.jpg" in caplog.text
        assert ids(load(train, **given, drop_copies=False))["unlabelled"] == ["copy.jpg", "new.jpg"]
        assert "Near-copies lie on both sides" in caplog.text

    def test_unchecked_images_are_not_decoded(self, coco, monkeypatch):
        def refuse(*_):
            raise AssertionError("decoded")

        for number in range(8):
            coco.add(number, f"p{number}.jpg", [1, 1, 9, 9], seed=0)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
        found = ids(load(coco, check_images=False))
        assert sorted(found) == ["test", "train", "validation"]
        monkeypatch.undo()
        assert load(coco, check_images=False).split("train")[0]["image"].shape == (48, 64, 3)
