"""Folders as tools and people leave them are recognised from a plain path, or the error says what to do."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import DataConfig
from mkd_tf.data import DATASETS, open_dataset
from mkd_tf.data.base import annotation_of
from mkd_tf.data.recognising import is_path, recognise
from tests.data.sources.folder_maker import Folder

LABEL = "0 0.375 0.5 0.25 0.5\n"  # 16, 12 to 32, 36 of 64x48
VOC = (
    "<annotation><object><name>cat</name><bndbox><xmin>16</xmin><ymin>12</ymin><xmax>32</xmax>"
    "<ymax>36</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path / "my data")


def voc_dev_kit(folder: Folder) -> None:
    for name in "abc":
        folder.image(f"VOCdevkit/VOC2007/JPEGImages/{name}.jpg")
        folder.text(f"VOCdevkit/VOC2007/Annotations/{name}.xml", VOC)
    for split, name in (("trainval", "a\nb"), ("val", "b"), ("test", "c")):
        folder.text(f"VOCdevkit/VOC2007/ImageSets/Main/{split}.txt", name)


def voc_of_roboflow(folder: Folder) -> None:
    for split in ("train", "valid", "test"):
        folder.image(f"{split}/{split}_jpg.rf.0a1b.jpg")
        folder.text(f"{split}/{split}_jpg.rf.0a1b.xml", VOC)
    folder.text("README.roboflow.txt", "exported")


def voc_plain(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"images/{split}/{split}.png")
        folder.text(f"annotations/{split}/{split}.xml", VOC)


def coco_of_roboflow(folder: Folder) -> None:
    for split in ("train", "valid", "test"):
        folder.image(f"{split}/{split}.jpg")
        folder.coco(f"{split}/_annotations.coco.json", f"{split}.jpg", categories=("cats", "cat"))


def coco_of_cvat(folder: Folder) -> None:
    for split in ("Train", "Validation", "Test"):
        folder.image(f"images/{split}/{split}.jpg")
        folder.coco(f"annotations/instances_{split}.json", f"{split}.jpg")


def coco_in_one_folder(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"images/{split}.jpg")
        folder.coco(f"{split}.json", f"images/{split}.jpg")


def yolo_of_ultralytics(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"images/{split}/{split}.jpg")
        folder.text(f"labels/{split}/{split}.txt", LABEL)
    splits = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    folder.text("mydata.yaml", f"path: ../datasets/my data\n{splits}names:\n  0: cat\n")


def yolo_of_roboflow(folder: Folder) -> None:
    for split in ("train", "valid", "test"):
        folder.image(f"{split}/images/{split}.jpg")
        folder.text(f"{split}/labels/{split}.txt", LABEL)
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cat']\n"
    folder.text("data.yaml", text)


def yolo_lists(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"images/{split}.jpg")
        folder.text(f"labels/{split}.txt", LABEL)
        folder.text(f"{split}2017.txt", f"./images/{split}.jpg\n")
    folder.text("data.yml", "train: train2017.txt\nval: val2017.txt\ntest: test2017.txt\nnames: [cat]\n")


def yolo_of_cvat(folder: Folder) -> None:
    names = {"train": "train", "valid": "validation", "test": "test"}
    for short, split in names.items():
        folder.image(f"obj_{short}_data/{split}.jpg")
        folder.text(f"obj_{short}_data/{split}.txt", LABEL)
        folder.text(f"{short}.txt", f"data/obj_{short}_data/{split}.jpg\n")
    lists = "".join(f"{short} = data/{short}.txt\n" for short in names)
    folder.text("obj.data", f"classes = 1\n{lists}names = data/obj.names\nbackup = backup/\n")
    folder.text("obj.names", "cat\n")


def yolo_without_yaml(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"{split}/{split}.jpg")
        folder.text(f"{split}/{split}.txt", LABEL)
    folder.text("classes.txt", "cat\n")


def labelme_in_folders(folder: Folder) -> None:
    for split in ("train", "val", "test"):
        folder.image(f"images/{split}/{split}.jpg")
        shape = {"label": "cat", "points": [[16, 12], [32, 36]], "shape_type": "rectangle"}
        content = {"shapes": [shape], "imagePath": f"..\\..\\images\\{split}\\{split}.jpg"}
        folder.text(f"json/{split}/{split}.json", json.dumps(content))


LAYOUTS: dict[Callable[[Folder], None], str] = {
    voc_dev_kit: "Pascal VOC, 1 class, train 1 / validation 1 / test 1, "
    "from VOCdevkit/VOC2007/Annotations and VOCdevkit/VOC2007/ImageSets/Main",
    voc_of_roboflow: "Pascal VOC, 1 class, train 1 / validation 1 / test 1, from XML files",
    voc_plain: "Pascal VOC, 1 class, train 1 / validation 1 / test 1, from annotations",
    coco_of_roboflow: "COCO, 1 class, train 1 / validation 1 / test 1, "
    "from train/_annotations.coco.json and 2 beside it",
    coco_of_cvat: "COCO, 1 class, train 1 / validation 1 / test 1, "
    "from annotations/instances_Train.json and 2 beside it",
    coco_in_one_folder: "COCO, 1 class, train 1 / validation 1 / test 1, from train.json and 2 beside it",
    yolo_of_ultralytics: "YOLO, 1 class, train 1 / validation 1 / test 1, from mydata.yaml",
    yolo_of_roboflow: "YOLO, 1 class, train 1 / validation 1 / test 1, from data.yaml",
    yolo_lists: "YOLO, 1 class, train 1 / validation 1 / test 1, from data.yml",
    yolo_of_cvat: "YOLO, 1 class, train 1 / validation 1 / test 1, from obj.data",
    yolo_without_yaml: "YOLO, 1 class, train 1 / validation 1 / test 1, from classes.txt",
    labelme_in_folders: "labelme, 1 class, train 1 / validation 1 / test 1, from 3 JSON files",
}


@pytest.mark.parametrize("fill", LAYOUTS, ids=lambda fill: fill.__name__)
def test_layouts(fill: Callable[[Folder], None], folder: Folder, caplog):
    fill(folder)
    with caplog.at_level(logging.INFO):
        data = folder.open()
    assert f"dataset: {LAYOUTS[fill]}" in caplog.messages
    assert data.class_names == ("cat",)
    for split in ("train", "validation", "test"):
        (image,) = [annotation_of(data.split(split), i) for i in range(len(data.split(split)))]
        assert Path(image["image/id"]).stem.lower()[:2] in (
            split[:2],
            {"train": "a", "validation": "b"}.get(split, "c"),
        )
        np.testing.assert_allclose(image["objects"]["bbox"], [[0.25, 0.25, 0.75, 0.5]], atol=1e-5)


class TestAmbiguous:
    def test_two_formats_are_listed_with_their_flags(self, folder):
        voc_plain(folder)
        folder.coco("labels.json", "images/train/train.png")
        with pytest.raises(MkdError) as caught:
            folder.open()
        text = str(caught.value)
        assert (
            f"data set {folder.root}: expected one data set, got 2 in it. Choose one with --dataset" in text
        )
        for spec in (line.split('"')[1] for line in text.splitlines()[1:]):
            assert DATASETS.build(spec).class_names == ("cat",)

    def test_two_configurations(self, folder):
        yolo_of_roboflow(folder)
        shutil.copy(folder.root / "data.yaml", folder.root / "other.yaml")
        with pytest.raises(MkdError, match="got 2 in it"):
            folder.open()
        assert folder.open("other.yaml").class_names == ("cat",)

    def test_two_voc_folders(self, folder):
        voc_dev_kit(folder)
        shutil.copytree(folder.root / "VOCdevkit/VOC2007", folder.root / "VOCdevkit/VOC2012")
        with pytest.raises(MkdError, match=r"voc_folder\(path='.*VOC2012'"):
            folder.open()


class TestNotRecognised:
    def test_images_alone(self, folder):
        folder.image("a.jpg")
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert "expected Pascal VOC (*.xml with <annotation>), COCO (*.json with images" in str(caught.value)
        assert "got 1 image and none of these. Give the folder that holds both" in str(caught.value)

    def test_nothing_there(self, folder):
        with pytest.raises(
            MkdError, match="expected a folder or a file, got nothing there. Correct the path"
        ):
            folder.open()

    def test_an_archive(self, folder):
        folder.text("export.zip", "PK")
        with pytest.raises(MkdError, match="expected a folder, got an archive. Unpack it first"):
            folder.open("export.zip")


class TestNames:
    @pytest.mark.parametrize("text", ["shapes", "voc/2007", "coco/2017", "voc_folder(path='a/b')", "nothing"])
    def test_names_and_calls_are_no_paths(self, text):
        assert not is_path(text, DATASETS)

    @pytest.mark.parametrize("text", [".", "./shapes", "/data", "~/data", "a\\b", "data/bccd", "my.yaml"])
    def test_paths(self, text):
        assert is_path(text, DATASETS)

    def test_a_name_of_the_table_wins_over_a_folder(self, folder, monkeypatch):
        (folder.root / "shapes").mkdir(parents=True)
        monkeypatch.chdir(folder.root)
        assert not is_path("shapes", DATASETS)

    def test_relative_path_with_brackets(self, folder, monkeypatch):
        yolo_without_yaml(folder)
        folder.root.rename(folder.root.with_name("data (1)"))
        monkeypatch.chdir(folder.root.parent)
        assert open_dataset(DataConfig(dataset="data (1)")).class_names == ("cat",)
        assert recognise("data (1)", DATASETS.entries.values()).spec.arguments == {"path": "data (1)"}


def test_missing_splits_are_taken_out_of_train(folder, caplog):
    for number in range(20):
        folder.image(f"images/train/{number}.jpg")
        folder.text(f"labels/train/{number}.txt", LABEL)
    folder.text("data.yaml", "train: images/train\nval: images/val\nnames: [cat]\n")
    with caplog.at_level(logging.INFO):
        data = folder.open()
    assert [len(data.split(split)) for split in ("train", "validation", "test")] == [14, 3, 3]
    assert "No list for validation and test: taken out of train by seed 0" in caplog.text
    assert "unused: data.yaml: val: images/val is not there" in caplog.text
