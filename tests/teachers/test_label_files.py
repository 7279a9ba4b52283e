"""Files of labels: their values, by hand."""

import contextlib
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.teachers import OutputsTeacher, TeacherImage
from mkd_tf.teachers.label_files import WRITERS
from mkd_tf.teachers.labelling import label_folder

NAMES = ("cat", "big dog")
FOUND = Detections(np.float32([[0.1, 0.2, 0.5, 0.6]]), np.float32([0.75]), np.int32([1]))
EMPTY = Detections(np.zeros((0, 4), "float32"), np.zeros(0, "float32"), np.zeros(0, "int32"))


def image(name):
    return TeacherImage(name, name, (50, 200), lambda: 1 / 0)


@pytest.fixture
def written(tmp_path):
    with contextlib.ExitStack() as stack:
        for writer in WRITERS.values():
            append = stack.enter_context(writer(tmp_path, NAMES))
            append(image("a.jpg"), FOUND)
            append(image("b.v1.png"), EMPTY)
            assert not (tmp_path / "annotations.json").exists() or writer is not WRITERS["coco"]
    return tmp_path


def test_coco(written):
    content = json.loads((written / "annotations.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "big dog"}]
    assert content["images"][1] == {"id": 2, "file_name": "b.v1.png", "width": 200, "height": 50}
    box = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [40, 5, 80, 20], "score": 0.75}
    assert content["annotations"] == [box | {"area": 1600, "iscrowd": 0}]


def test_results(written):
    rows = json.loads((written / "predictions.json").read_text())
    assert rows == [{"image_id": 1, "category_id": 2, "bbox": [40, 5, 80, 20], "score": 0.75}]
    listing = json.loads((written / "predictions_images.json").read_text())
    assert [i["file_name"] for i in listing["images"]] == ["a.jpg", "b.v1.png"]


def test_voc(written):
    root = ElementTree.parse(written / "voc" / "a.xml").getroot()  # noqa: S314 (our own file)
    assert root.findtext("filename") == "a.jpg" and root.findtext("size/width") == "200"
    assert root.findtext("object/name") == "big dog"
    assert [e.text for e in root.find("object/bndbox")] == ["40", "5", "120", "25"]
    assert b"object" not in (written / "voc" / "b.v1.xml").read_bytes()


def test_yolo(written):
    folder = written / "yolo"
    assert (folder / "labels" / "a.txt").read_text() == "1 0.400000 0.300000 0.400000 0.400000\n"
    assert (folder / "labels" / "b.v1.txt").read_text() == ""
    assert (folder / "classes.txt").read_text() == "cat\nbig dog\n"
    assert '  1: "big dog"\n' in (folder / "data.yaml").read_text()


def test_two_images_of_one_name(tmp_path):
    with WRITERS["voc"](tmp_path, NAMES) as append:
        append(image("a.jpg"), FOUND)
        with pytest.raises(MkdError, match=r"one image of each name.*got a.jpg and A.png"):
            append(image("A.png"), FOUND)


class Teacher(OutputsTeacher):
    name, class_names, needs_pixels = "fixed", ("cat", "dog"), False

    def detect(self, images):
        low = Detections(FOUND.boxes, np.float32([0.2]), FOUND.labels)
        return [{"a.png": FOUND, "b.png": low}.get(i.file_name) for i in images]


def test_unknown_and_broken_images_are_reported_and_not_written(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 4)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "d.png").write_text("no image")
    done = label_folder(Teacher(), tmp_path / "images", tmp_path, ["coco"], 0.5, explicit={"dog": "pet"})
    assert (done.images, done.objects, done.unknown) == (2, 1, ["c.png"])
    assert [failure["file"] for failure in done.failed] == ["d.png"]
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [i["file_name"] for i in content["images"]] == ["a.png", "b.png"]
    assert [c["name"] for c in content["categories"]] == ["cat", "pet"]
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(MkdError, match="images that the teacher fixed knows, got none of 2"):
        label_folder(Teacher(), tmp_path / "images", tmp_path, ["coco"], 0.5)
    assert json.loads((tmp_path / "annotations.json").read_text()) == content
