"""CVAT, Label Studio and labelme: what their shapes mean, and which images they are of."""

import json

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.outlines import brush_box, ellipse_box, turned_box
from tests.data.sources.folder_maker import Folder, elements, pixels

BOX = '<box label="cat" occluded="1" xtl="16" ytl="12" xbr="32" ybr="36"/>'


@pytest.fixture
def folder(tmp_path) -> Folder:
    made = Folder(tmp_path / "set")
    for name in "abcdef":
        made.image(f"images/{name}.jpg")
    return made


def brush(mask: np.ndarray) -> list[int]:
    """Packs a mask as Label Studio does, in words of 8 bits, runs and literal blocks alternating."""
    values = np.repeat(mask.astype(int).ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < len(values):
        run = next((i for i, v in enumerate(values[place:]) if v != values[place]), len(values) - place)
        if run > 2:
            run = min(run, 1 << 16)
            bits += f"1{3:02b}{run - 1:016b}{values[place]:08b}"
        else:
            run = min(8, len(values) - place)
            bits += f"0{0:02b}{run - 1:03b}" + "".join(f"{v:08b}" for v in values[place : place + run])
        place += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


class TestOutlines:
    def test_turned_box(self):
        assert turned_box((0, 0, 4, 2), 90) == (1, -1, 3, 3)
        np.testing.assert_allclose(
            turned_box((0, 0, 2, 2), 45), [1 - 2**0.5, 1 - 2**0.5, 1 + 2**0.5, 1 + 2**0.5]
        )
        assert turned_box((0, 0, 4, 2), 180, pivot=(0, 0)) == (-4, -2, 0, 0)

    def test_ellipse(self):
        angle = np.linspace(0, 2 * np.pi, 100001)
        x, y = 3 * np.cos(angle), 1 * np.sin(angle)
        turned = np.array([x * np.cos(0.5) - y * np.sin(0.5), x * np.sin(0.5) + y * np.cos(0.5)])
        slow = [*turned.min(1), *turned.max(1)]
        np.testing.assert_allclose(ellipse_box(0, 0, 3, 1, np.degrees(0.5)), slow, atol=1e-6)

    @pytest.mark.parametrize("seed", range(4))
    def test_brush(self, seed):
        rng = np.random.default_rng(seed)
        mask = np.zeros((13, 17), bool)
        mask[3:9, 4:15] = rng.random((6, 11)) < (0.5, 1, 0.1, 0.9)[seed]
        mask[5, 7] = True
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        slow = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert brush_box(brush(mask), 17, 13) == slow
        assert brush_box(brush(np.zeros((13, 17), bool)), 17, 13) is None


class TestCvat:
    def write(self, folder: Folder, shapes: str = BOX, name: str = "annotations.xml", **attributes) -> None:
        images = "".join(
            f'<image id="{i}" name="{n}.jpg" width="64" height="48" {attributes.get(n, "")}>{shapes}</image>'
            for i, n in enumerate("abcdef")
        )
        labels = "<label><name>dog</name></label><label><name>cat</name></label>"
        meta = f"<meta><task><labels>{labels}</labels></task></meta>"
        folder.text(
            name, f"<?xml version='1.0'?><annotations><version>1.1</version>{meta}{images}</annotations>"
        )

    def test_classes_keep_the_order_of_the_labels(self, folder):
        self.write(folder)
        data = folder.open()
        assert data.class_names == ("dog", "cat")
        assert pixels(elements(data)["a"]) == [[16, 12, 32, 36]]

    @pytest.mark.parametrize(
        ("shape", "box"),
        [
            ('<polygon label="cat" points="10.0,5.0;20.0,8.0;12.0,30.5"/>', [10, 5, 20, 30.5]),
            ('<polyline label="cat" points="1,2;30,40"/>', [1, 2, 30, 40]),
            ('<box label="cat" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90.0"/>', [25, 15, 35, 35]),
            ('<ellipse label="cat" cx="30" cy="20" rx="10" ry="5"/>', [20, 15, 40, 25]),
            # Rows of 5: 0 0 0 1 1 | 1 0 0 0 0 -> columns 0..5, rows 0..2 of a mask at (10, 12).
            ('<mask label="cat" rle="3, 3, 4" left="10" top="12" width="5" height="2"/>', [10, 12, 15, 14]),
            (
                '<mask label="cat" rle="1, 2, 3, 2, 2" left="10" top="12" width="5" height="2"/>',
                [11, 12, 13, 14],
            ),
        ],
    )
    def test_shapes(self, folder, shape, box):
        self.write(folder, shape)
        assert pixels(elements(folder.open())["a"]) == [box]

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ('<points label="cat" points="1,2"/>', "<points> has no box around an object"),
            ('<box label="cat" xtl="a" ytl="1" xbr="2" ybr="3"/>', "xtl is 'a', not a number"),
            ('<box xtl="5" ytl="5" xbr="20" ybr="30"/>', "its class name is None, not text"),
            ('<mask label="cat" rle="3" left="1" top="1" width="2" height="2"/>', "fill 3 of 2x2 pixels"),
            ('<mask label="cat" rle="4" left="1" top="1" width="2" height="2"/>', "its mask is empty"),
        ],
    )
    def test_shapes_without_a_box(self, folder, shape, words):
        self.write(folder, shape)
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert words in str(caught.value)

    def test_difficult_and_tags(self, folder):
        difficult = BOX.replace("/>", '><attribute name="difficult">true</attribute></box>')
        self.write(folder, difficult + '<tag label="cat"/>')
        data = folder.open()
        assert elements(data)["b"]["objects"]["is_difficult"].all()
        assert "tags of whole images are not read" in str(data.notices[0])

    def test_subsets_are_splits(self, folder):
        subsets = {
            name: f'subset="{s}"'
            for name, s in zip("abcdef", ["Train"] * 4 + ["Validation", "Test"], strict=True)
        }
        self.write(folder, **subsets)
        splits = {name: each["split"] for name, each in elements(folder.open()).items()}
        assert splits == dict.fromkeys("abcd", "train") | {"e": "validation", "f": "test"}

    def test_tracks_are_refused(self, folder):
        folder.text("annotations.xml", '<annotations><track id="0" label="cat"></track></annotations>')
        with pytest.raises(MkdError, match="tracks of a video. Export the task as 'CVAT for images 1.1'"):
            folder.open()

    def test_entities_are_refused(self, folder):
        text = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'
        folder.text("annotations.xml", text)
        with pytest.raises(MkdError, match="refused as unsafe"):
            folder.open()

    def test_an_image_that_is_not_there(self, folder):
        self.write(folder)
        (folder.root / "images/a.jpg").unlink()
        with pytest.raises(MkdError, match=r"annotations.xml image 0 \(a.jpg\): no image a.jpg in set/"):
            folder.open()


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
        region = {"format": "rle", "rle": brush(mask), "brushlabels": ["cat"]}
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


class TestLabelme:
    def write(self, folder: Folder, *shapes: dict, name: str = "a", **more) -> None:
        content = {"shapes": list(shapes), "imagePath": f"{name}.jpg", "imageWidth": 64, "imageHeight": 48}
        folder.text(f"images/{name}.json", json.dumps(content | more))

    @pytest.fixture(autouse=True)
    def others(self, folder):
        for name in "bcdef":
            self.write(
                folder, {"label": "cat", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}, name=name
            )

    @pytest.mark.parametrize(
        ("kind", "points", "box"),
        [
            ("rectangle", [[32, 36], [16, 12]], [16, 12, 32, 36]),
            ("polygon", [[1, 2], [3, 40], [20, 10]], [1, 2, 20, 40]),
            ("circle", [[20, 20], [23, 24]], [15, 15, 25, 25]),
            ("linestrip", [[1, 2], [30, 40]], [1, 2, 30, 40]),
            ("mask", [[10, 12], [19, 21]], [10, 12, 20, 22]),
            (None, [[1, 2], [3, 40], [20, 10]], [1, 2, 20, 40]),
        ],
    )
    def test_shapes(self, folder, kind, points, box):
        self.write(folder, {"label": "cat", "points": points, "shape_type": kind})
        assert pixels(elements(folder.open())["a"]) == [box]

    def test_groups_are_one_object(self, folder):
        parts = [([[1, 2], [10, 12]], 1), ([[20, 2], [30, 12]], 1), ([[40, 2], [50, 12]], None)]
        shapes = [{"label": "cat", "points": p, "group_id": g, "shape_type": "rectangle"} for p, g in parts]
        self.write(folder, *shapes)
        data = folder.open()
        assert pixels(elements(data)["a"]) == [[1, 2, 30, 12], [40, 2, 50, 12]]
        assert "shapes of one label and group_id are one object" in str(data.notices[0])

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (
                {"label": "cat", "points": [[1, 2]], "shape_type": "point"},
                "a shape of type 'point' has no box",
            ),
            ({"label": "cat", "points": [[1, None], [3, 4]]}, "a coordinate of its polygon is None"),
            ({"label": 3.5, "points": [[1, 2], [30, 40]]}, "its class name is 3.5, not text"),
        ],
    )
    def test_shapes_without_a_box(self, folder, shape, words):
        self.write(folder, shape)
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert f"images/a.json shape 0: {words}" in str(caught.value)

    def test_images_without_a_file_are_unlabelled_and_empty_ones_negatives(self, folder):
        self.write(folder)
        folder.image("images/g.jpg")
        found = elements(folder.open())
        assert found["a"]["is_labelled"] and not len(found["a"]["objects"]["label"])
        assert found["g"]["split"] == "unlabelled"

    def test_another_size_is_refused(self, folder):
        self.write(folder, imageWidth=640)
        with pytest.raises(MkdError, match="the file says 640x48, the image has 64x48"):
            folder.open()

    def test_nothing_outside_the_folder_is_opened(self, folder):
        folder.image("../secret.jpg")
        self.write(folder, imagePath="../../secret.jpg")
        (folder.root / "images/a.jpg").unlink()
        with pytest.raises(MkdError, match=r"images/a.json: .*no image secret.jpg in set/"):
            folder.open()
