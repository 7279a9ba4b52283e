"""Label Studio: what its regions mean, and which annotation of a task counts."""

import json

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from tests.data.sources.folder_maker import Folder, elements, packed_brush, pixels


@pytest.fixture
def folder(tmp_path) -> Folder:
    made = Folder(tmp_path / "set")
    for name in "abcdef":
        made.image(f"images/{name}.jpg")
    return made


class TestLabelStudio:
    VALUE = {"x": 25, "y": 25, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    SIZE = {"original_width": 64, "original_height": 48}

    def task(self, name: str, *values: dict, **more) -> dict:
        results = [{"id": str(i), "type": "x", "value": v} | self.SIZE for i, v in enumerate(values)]
        annotations = [{"result": results, "was_cancelled": False}]
        return {"id": name, "data": {"image": f"/data/upload/1/{name}"}, "annotations": annotations} | more

    def write(self, folder: Folder, *tasks: dict) -> None:
        rest = [self.task(f"{name}.jpg", self.VALUE) for name in "bcdef"]
        folder.text("export.json", json.dumps([*tasks, *rest]))

    @pytest.mark.parametrize(
        ("value", "box"),
        [
            (VALUE, [16, 12, 32, 36]),
            # 16 x 24 px turned clockwise about (32, 12): its height goes to the left.
            (VALUE | {"x": 50, "rotation": 90}, [8, 12, 32, 28]),
            ({"points": [[0, 0], [50, 50], [25, 75]], "polygonlabels": ["cat"]}, [0, 0, 32, 36]),
            ({"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["cat"]}, [16, 12, 48, 36]),
            (VALUE | {"rectanglelabels": None, "labels": ["cat"]}, None),
        ],
    )
    def test_regions(self, folder, value, box):
        value = {k: v for k, v in value.items() if v is not None}
        self.write(folder, self.task("0a1b2c3d-a.jpg", value))
        assert pixels(elements(folder.open())["a"]) == [box or [16, 12, 32, 36]]

    def test_brush(self, folder):
        mask = np.zeros((48, 64), bool)
        mask[5:20, 7:9] = True
        region = {"format": "rle", "rle": packed_brush(mask), "brushlabels": ["cat"]}
        self.write(folder, self.task("a.jpg", region))
        assert pixels(elements(folder.open())["a"]) == [[7, 5, 9, 20]]

    def test_a_cancelled_task_is_unlabelled(self, folder):
        self.write(folder, self.task("a.jpg", annotations=[{"result": [], "was_cancelled": True}]))
        data = folder.open()
        assert elements(data)["a"]["split"] == "unlabelled"
        assert "export.json: cancelled annotations are not read" in map(
            str, [str(n).split(" (")[0] for n in data.notices]
        )

    def test_an_empty_annotation_is_a_negative(self, folder):
        self.write(folder, self.task("a.jpg"))
        assert elements(folder.open())["a"]["is_labelled"]

    def test_of_several_annotations_the_ground_truth_or_the_newest(self, folder):
        def result(x: float, **more) -> dict:
            return {"result": [{"value": self.VALUE | {"x": x}} | self.SIZE]} | more

        old, new = result(0, updated_at="2026-01-01"), result(25, updated_at="2026-02-01")
        self.write(folder, self.task("a.jpg", annotations=[new, old]))
        data = folder.open()
        assert pixels(elements(data)["a"])[0][0] == 16
        assert "of several annotations of a task the ground truth is read, else the newest" in str(
            data.notices[0]
        )
        self.write(folder, self.task("a.jpg", annotations=[new, old | {"ground_truth": True}]))
        assert pixels(elements(folder.open())["a"])[0][0] == 0

    def test_labels_joined_by_id(self, folder):
        bare = {key: self.VALUE[key] for key in ("x", "y", "width", "height", "rotation")}
        results = [
            {"id": "r", "value": bare} | self.SIZE,
            {"id": "r", "value": bare | {"labels": ["cat"]}} | self.SIZE,
        ]
        self.write(folder, self.task("a.jpg", annotations=[{"result": results}]))
        assert pixels(elements(folder.open())["a"]) == [[16, 12, 32, 36]]

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (VALUE | {"rectanglelabels": ["cat", "dog"]}, "2 labels (cat, dog), expected one"),
            (VALUE | {"rectanglelabels": []}, "0 labels (), expected one"),
            ({"x": 5, "y": 5, "width": 1, "keypointlabels": ["cat"]}, "a point has no box"),
            ({"rle": [1, 2], "brushlabels": ["cat"]}, "its brush ends too early"),
        ],
    )
    def test_regions_without_a_box(self, folder, value, words):
        self.write(folder, self.task("a.jpg", value))
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert words in str(caught.value)

    def test_short_form(self, folder):
        tasks = [
            {"image": f"/data/upload/2/12345678-{n}.jpg", "id": i, "annotator": 1, "annotation_id": i}
            | {"label": [self.VALUE | self.SIZE]}
            for i, n in enumerate("abcdef")
        ]
        folder.text("min.json", json.dumps(tasks))
        assert pixels(elements(folder.open())["f"]) == [[16, 12, 32, 36]]
