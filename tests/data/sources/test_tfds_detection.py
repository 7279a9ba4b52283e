"""VOC and COCO by way of tfds: its own builders, download and files, on tiny archives from a local server."""

import contextlib
import shutil
import socket
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.object_detection import coco, voc

from mkd_tf.checks import MkdError
from mkd_tf.config import DataConfig
from mkd_tf.data import DATASETS, open_dataset
from mkd_tf.data.base import annotation_of
from mkd_tf.data.sources import tfds_preparing
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.evaluation.coco import ANY_CLASS, Truth
from tests.data.sources.tfds_server import coco_archives, serving, url_infos, voc_archive, voc_object

CAT, DOG = voc_object("cat", (16, 12, 32, 36)), voc_object("dog", (0, 0, 64, 24), difficult=1)
VOC_LABELLED = {"train": {"000001": [CAT, DOG], "000002": []}, "val": {"000003": [CAT], "000006": []}}
VOC_2007 = {
    "VOCtrainval_06-Nov-2007.tar": voc_archive("2007", VOC_LABELLED),
    "VOCtest_06-Nov-2007.tar": voc_archive("2007", {"test": {"000004": [CAT], "000005": [DOG]}}),
}
VOC_2012 = {
    "VOCtrainval_11-May-2012.tar": voc_archive("2012", VOC_LABELLED),
    "VOC2012test.tar": voc_archive("2012", {"test": {"000004": [], "000005": []}}),
}
PERSON = {"id": 1, "category_id": 1, "bbox": [16, 12, 16, 24], "area": 200, "iscrowd": 0}
CROWD = {"id": 2, "category_id": 90, "bbox": [0, 0, 64, 24], "area": 700, "iscrowd": 1}
FLAT = {"id": 3, "category_id": 90, "bbox": [5, 5, 0, 9], "area": 0, "iscrowd": 0}
COCO_2017 = coco_archives(
    {
        "train2017": {i: [PERSON, CROWD, FLAT] for i in range(1, 41)},
        "val2017": {50: [PERSON], 51: []},
        "test2017": {60: []},
    }
)
COCO_ROOT = "http://images.cocodataset.org/"
COCO_FOLDERS = {name: ("zips/" if "2017" in name[:9] else "annotations/") + name for name in COCO_2017}


@contextlib.contextmanager
def voc_mirror(files):
    """Points tfds's VOC builder to a local server, checksums included."""
    with serving(files) as (root, asked), pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc, "_VOC_DATA_URL", root)
        patch.setattr(voc.Voc, "url_infos", url_infos(root, files))
        yield asked


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """All three sets, prepared by tfds from archives."""
    folder = tmp_path_factory.mktemp("tfds")
    for name, files in (("voc/2007", VOC_2007), ("voc/2012", VOC_2012)):
        with voc_mirror(files):
            DATASETS.build(name, data_dir=folder)
    with serving(COCO_2017) as (root, asked), pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", root)
        patch.setenv("no_proxy", "")
        addressed = {COCO_FOLDERS[name]: data for name, data in COCO_2017.items()}
        patch.setattr(coco.Coco, "url_infos", url_infos(COCO_ROOT, addressed))
        DATASETS.build("coco/2017", data_dir=folder)
    assert f"GET {COCO_ROOT}zips/train2017.zip" in asked
    return folder


def ids(dataset):
    return {split: sorted(e["image/id"] for e in dataset.split(split)) for split in dataset.split_names}


def by_id(split):
    return {element["image/id"]: element for element in split}


class TestFolder:
    """The same prepared sets, from the plain paths of their folders."""

    @pytest.mark.parametrize("name", ["voc/2007", "voc/2007/5.0.0"])
    def test_a_set_and_a_version(self, prepared, name, caplog):
        if not (prepared / name).is_dir():
            name = str(next((prepared / "voc/2007").iterdir()).relative_to(prepared))
        with caplog.at_level("INFO"):
            data = open_dataset(DataConfig(dataset=str(prepared / name)))
        assert ids(data) == ids(DATASETS.build("voc/2007", data_dir=prepared))
        assert data.class_names == DATASETS.build("voc/2007", data_dir=prepared).class_names
        shown = "dataset: tfds, 20 classes, train 2 / validation 2 / test 2, from "
        assert [
            line for line in caplog.messages if line.startswith(shown) and line.endswith("dataset_info.json")
        ]

    def test_missing_labels_and_splits(self, prepared):
        data = open_dataset(DataConfig(dataset=str(prepared / "voc/2012")))
        assert data.split_names == ("train", "validation", "test", "unlabelled")
        assert "test: no object in its first images: it is read as unlabelled" in str(data.notices[0])
        assert sum(len(data.split(split)) for split in data.split_names) == 6

    def test_several_sets_are_asked_for(self, prepared):
        with pytest.raises(MkdError, match=r"(?s)got 2 in it.*tfds\(path='.*2012"):
            open_dataset(DataConfig(dataset=str(prepared / "voc")))


class TestVoc:
    def test_2007_has_its_own_splits(self, prepared):
        dataset = DATASETS.build("voc/2007", data_dir=prepared, on_bad_example="fail")
        assert dataset.name == "voc/2007" and len(dataset.class_names) == 20
        assert dataset.class_names[:3] == ("aeroplane", "bicycle", "bird")
        assert ids(dataset) == {
            "train": ["000001", "000002"],
            "validation": ["000003", "000006"],
            "test": ["000004", "000005"],
        }

    def test_element(self, prepared):
        dataset = DATASETS.build("voc/2007", data_dir=prepared)
        element = by_id(dataset.split("train"))["000001"]
        assert element["image"].shape == (48, 64, 3) and element["image"].dtype == np.uint8
        assert element["is_labelled"] is True
        objects = element["objects"]
        np.testing.assert_allclose(objects["bbox"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 0.5, 1]])
        assert [dataset.class_names[label] for label in objects["label"]] == ["cat", "dog"]
        assert objects["is_difficult"].tolist() == [False, True]
        assert objects["is_crowd"].tolist() == [False, False]
        assert by_id(dataset.split("train"))["000002"]["objects"]["bbox"].shape == (0, 4)

    def test_2012_takes_validation_out_of_train(self, prepared):
        dataset = DATASETS.build("voc/2012", data_dir=prepared)
        found = ids(dataset)
        assert list(found) == ["train", "validation", "test"]
        assert sorted(found["train"] + found["validation"]) == ["000001", "000002"]
        assert found["test"] == ["000003", "000006"]

    def test_2012_test_images_are_unlabelled_if_asked_for(self, prepared):
        split = DATASETS.build("voc/2012(unlabelled=True)", data_dir=prepared).split("unlabelled")
        assert sorted(by_id(split)) == ["000004", "000005"]
        assert split[0]["is_labelled"] is False and split[0]["objects"]["bbox"].shape == (0, 4)


class TestCoco:
    def test_splits(self, prepared):
        found = ids(DATASETS.build("coco/2017(validation_share=0.1)", data_dir=prepared))
        assert {split: len(names) for split, names in found.items()} == {
            "train": 36,
            "validation": 4,
            "test": 2,
        }
        assert sorted(found["train"] + found["validation"]) == [f"{i:012d}" for i in range(1, 41)]
        again = ids(DATASETS.build("coco/2017(validation_share=0.1, split_seed=1)", data_dir=prepared))
        assert again["validation"] != found["validation"]
        with_more = DATASETS.build("coco/2017(unlabelled=True)", data_dir=prepared)
        assert ids(with_more)["unlabelled"] == [f"{60:012d}"]

    def test_element(self, prepared):
        dataset = DATASETS.build("coco/2017", data_dir=prepared)
        assert len(dataset.class_names) == 80
        objects = dataset.split("train")[0]["objects"]
        np.testing.assert_allclose(
            objects["bbox"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 0.5, 1]]
        )  # FLAT is left out
        assert objects["label"].tolist() == [0, 79]
        assert objects["is_crowd"].tolist() == [False, True]
        assert objects["is_difficult"].tolist() == [False, False]
        truth = Truth.of(dataset.split("train")[0])
        assert truth.named().areas.tolist() == [200, 700]
        # The object of the box without area may be anywhere: nothing found there is false.
        assert dataset.split("train")[0]["unknown"].tolist() == [[0, 0, 1, 1]]
        assert (truth.labels[-1], truth.is_crowd[-1], truth.boxes[-1].tolist()) == (
            ANY_CLASS,
            True,
            [0, 0, 48, 64],
        )
        assert [str(notice) for notice in dataset.notices] == [
            "coco/2017: images with a box without area are unknown outside of their other objects"
        ]

    def test_numbers_for_names_are_replaced(self, prepared, monkeypatch):
        numbers = property(lambda _: [str(i) for i in range(80)])
        monkeypatch.setattr(tfds.features.ClassLabel, "names", numbers)
        assert DATASETS.build("coco/2017", data_dir=prepared).class_names == COCO_NAMES
        assert (COCO_NAMES[0], COCO_NAMES[79], COCO_NAMES[15]) == ("person", "toothbrush", "cat")


class TestReading:
    def test_annotation_equals_the_element_and_decodes_nothing(self, prepared, monkeypatch):
        split = DATASETS.build("voc/2007", data_dir=prepared).split("test")
        elements = list(split)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
        for i, element in enumerate(elements):
            found = annotation_of(split, i)
            assert found["height_width"] == element["image"].shape[:2]
            np.testing.assert_array_equal(found["objects"]["bbox"], element["objects"]["bbox"])

    def test_random_access(self, prepared):
        split = DATASETS.build("voc/2007", data_dir=prepared).split("test")
        assert split[-1]["image/id"] == split[1]["image/id"] != split[0]["image/id"]
        assert [e["image/id"] for e in split[:1]] == [split[0]["image/id"]]
        with pytest.raises(IndexError):
            split[2]

    def test_files_as_tfds_writes_them_by_default(self, prepared, tmp_path):
        """TFRecord, in several files, which tfds reads from front to back only."""
        with voc_mirror(VOC_2007):
            builder = voc.Voc(config="2007", data_dir=tmp_path)
            shards = tfds.download.DownloadConfig(num_shards=2, try_download_gcs=False)
            builder.download_and_prepare(download_config=shards)
        assert len(list(tmp_path.glob("voc/2007/*/*test.tfrecord*"))) == 2
        found = DATASETS.build("voc/2007", data_dir=tmp_path)
        expected = DATASETS.build("voc/2007", data_dir=prepared)
        assert ids(found) == ids(expected)
        for split in expected.split_names:
            others = by_id(expected.split(split))
            for element in found.split(split):
                np.testing.assert_array_equal(element["image"], others[element["image/id"]]["image"])

    def test_a_version_that_tfds_no_longer_makes_is_read(self, prepared, tmp_path):
        shutil.copytree(prepared / "voc/2007/5.0.0", tmp_path / "voc/2007/4.0.0")
        assert ids(DATASETS.build("voc/2007", data_dir=tmp_path))["validation"] == ["000003", "000006"]
        (tmp_path / "voc/2007/incomplete.5.0.0").mkdir()
        newest = tmp_path / "voc/2007/10.0.0"
        shutil.copytree(prepared / "voc/2007/5.0.0", newest)
        assert tfds_preparing.find_prepared(tmp_path / "voc/2007") == newest


class TestMistakes:
    def told(self, match, spec="voc/2007", **arguments):
        start = time.monotonic()
        with pytest.raises(MkdError, match=match) as error:
            DATASETS.build(spec, **arguments)
        assert time.monotonic() - start < 30
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_arguments(self, prepared):
        self.told("voc/2007: unlabelled: expected a set with", "voc/2007(unlabelled=True)", data_dir=prepared)
        self.told("validation_share: expected a share between", "voc/2012(validation_share=1)")
        self.told("voc/2007 takes: unlabelled, .*split_seed", "voc/2007(seed=1)", data_dir=prepared)
        self.told("expected one of fail, skip", on_bad_example="ignore")

    def test_nobody_answers(self, tmp_path, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            root = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        monkeypatch.setattr(voc.Voc, "url_infos", url_infos(root, VOC_2007))
        message = self.told("expected a prepared set in .*voc/2007 or a network", data_dir=tmp_path)
        assert f"no answer from {root}VOCtrainval_06-Nov-2007.tar ([Errno 111] Connection refused)" in message
        assert "and copy voc/2007 into the --data_dir" in message
        assert "--dataset with voc_folder(path='VOCdevkit/VOC2007')" in message

    def test_a_server_says_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tfds_preparing, "_PROBE_S", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            root = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            monkeypatch.setattr(voc.Voc, "url_infos", url_infos(root, VOC_2007))
            self.told(f"no answer from {root}", data_dir=tmp_path)

    def test_a_file_is_gone(self, tmp_path):
        with voc_mirror(VOC_2007), serving({}) as (root, _), pytest.MonkeyPatch.context() as patch:
            patch.setattr(voc.Voc, "url_infos", url_infos(root, VOC_2007))
            self.told("got HTTP 404 from http://127.0.0.1", data_dir=tmp_path)

    def test_a_download_stops(self, tmp_path, monkeypatch):
        """Nothing to ask beforehand, and a server that falls silent: tfds alone would wait for ever."""
        monkeypatch.setattr(tfds_preparing, "_PAUSE_S", 0.3)
        monkeypatch.setattr(voc.Voc, "url_infos", {})
        with socket.create_server(("127.0.0.1", 0)) as silent:
            root = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            monkeypatch.setattr(voc, "_VOC_DATA_URL", root)
            message = self.told("to download and prepare it in .*voc/2007, got ", data_dir=tmp_path)
        assert "timed out" in message

    def test_a_download_is_damaged(self, tmp_path):
        with voc_mirror(VOC_2007), pytest.MonkeyPatch.context() as patch:
            damaged = {name: data[:-600] + bytes(600) + b"x" for name, data in VOC_2007.items()}
            patch.setattr(voc.Voc, "url_infos", url_infos(voc._VOC_DATA_URL, damaged))
            self.told("got NonMatchingChecksumError", data_dir=tmp_path)
        assert tfds_preparing.find_prepared(tmp_path / "voc" / "2007") is None
