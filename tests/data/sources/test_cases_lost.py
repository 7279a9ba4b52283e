"""Objects that cannot be used, and entries that come twice: case 15."""

import pytest

from tests.data.sources.cases import boxes, objects, open_coco, open_voc, refusal, shown, unknown, words
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import object_xml

CAT = [[10, 12, 30, 40]]
WHOLE = [[0, 0, 64, 48]]


LOST = {
    "no box": ({"bbox": None}, WHOLE, "no bbox"),
    "bad number": ({"bbox": [1, "x", 5, 9]}, WHOLE, "bbox is [1, 'x', 5, 9], not four numbers"),
    "outside": ({"bbox": [90, 5, 9, 9]}, WHOLE, "box [90, 5, 99, 14] lies outside the 64x48 image"),
    "no area": ({"bbox": [5, 7, 0, 9]}, WHOLE, "zero-area box [5, 7, 5, 16]"),
    "mask of nothing": (
        {"bbox": [], "segmentation": {"counts": [9], "size": [3, 3]}},
        WHOLE,
        "bbox is [], not four numbers",
    ),
    "broken polygon": (
        {"bbox": None, "segmentation": [[1, 2, 3]]},
        WHOLE,
        "its polygon has 3 coordinates, expected x and y of two points or more",
    ),
    "strange class": ({"category_id": 77}, CAT, "category 77 is not among the categories"),
    "strange flag": ({"iscrowd": "?"}, CAT, "iscrowd is '?', expected 0 or 1"),
}


class TestSkip:
    @pytest.mark.parametrize(("fields", "area", "text"), LOST.values(), ids=LOST)
    def test_a_lost_object_is_unknown_and_never_background(self, coco, caplog, fields, area, text):
        coco.add(1, "a.jpg", [40, 1, 9, 9])
        coco.annotate(1, **fields)
        assert f": {text}" in refusal(open_coco, coco)
        dataset = open_coco(coco, on_bad_example="skip")
        assert unknown(dataset) == {"a.jpg": area}
        assert boxes(dataset) == {"a.jpg": [[40, 1, 49, 10]]}
        said = {
            1: "unknown: train: images that lost an object are unknown outside of their objects, "
            "not background",
            0: "unknown: train: areas of objects that cannot be used are unknown, not background",
        }[area == WHOLE]
        assert words(dataset) == [f"{said} (a.jpg)"]
        assert f"{said} (a.jpg)" in shown(caplog)

    def test_an_image_that_lost_all_is_unlabelled(self, coco):
        coco.add(1, "a.jpg", [40, 1, 9, 9])
        coco.add(2, "b.jpg")
        coco.annotate(2, bbox=None)
        dataset = open_coco(coco, on_bad_example="skip")
        assert (dataset.split("train").ids, dataset.split("unlabelled").ids) == (["a.jpg"], ["b.jpg"])
        assert not dataset.split("unlabelled")[0]["is_labelled"]
        assert words(dataset) == [
            "unknown: train: images that lost every object are unlabelled, not background (b.jpg)"
        ]

    def test_it_stays_in_evaluation_where_nothing_counts_on_it(self, coco):
        coco.add(1, "a.jpg", [40, 1, 9, 9])
        test = CocoMaker(coco.root, "images", "test.json", dict(coco.content, images=[], annotations=[]))
        test.add(1, "b.jpg")
        test.annotate(1, bbox=None)
        dataset = open_coco(coco, test_annotations=test.write(), on_bad_example="skip")
        assert unknown(dataset, "test") == {"b.jpg": WHOLE}

    @pytest.mark.parametrize("extra", ["", "<bndbox><xmin>1</xmin></bndbox>"])
    def test_voc(self, voc, extra):
        voc.add("a", object_xml(), f"<object><name>cat</name>{extra}</object>")
        voc.add("b", object_xml(), object_xml("dog", box=(1, 1, 9, 9)))
        dataset = open_voc(voc, classes=["cat"], on_bad_example="skip")
        assert unknown(dataset) == {"a": WHOLE, "b": [[1, 1, 9, 9]]}

    def test_ids_of_annotations_are_needed_by_nobody(self, coco):
        for number_of in range(3):
            coco.add(number_of, f"{number_of}.jpg")
            coco.annotate(number_of, id=5)
        assert objects(open_coco(coco)) == {f"{i}.jpg": ["cat"] for i in range(3)}
        assert words(open_coco(coco)) == [
            "merged: instances.json: annotations share an id, which nothing needs: all are read (2: 5)"
        ]


class TestDuplicates:
    ROWS = (
        "merged: instances.json: images that are listed several times are one, with the objects of all rows"
    )

    @pytest.mark.parametrize("second", ["a.jpg", "./a.jpg", ".\\a.jpg"])
    def test_rows_of_one_image_are_joined(self, coco, second):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.list_image(2, second)
        coco.annotate(2, bbox=[40, 1, 9, 9])
        coco.annotate(2)
        dataset = open_coco(coco)
        assert boxes(dataset) == {"a.jpg": [*CAT, [40, 1, 49, 10]]}
        assert f"{self.ROWS} ({second})" in words(dataset)
        assert (
            "merged: objects: those that repeat the class and the box of another are read once "
            "(instances.json annotation 102)"
        ) in words(dataset)

    def test_a_row_with_the_same_id_is_the_same(self, coco):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.list_image("1", "a.jpg")
        assert words(open_coco(coco)) == ["merged: instances.json: rows of one image are read as one (a.jpg)"]

    def test_one_id_with_two_images_is_a_problem(self, coco):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.add(1.0, "b.jpg")
        assert "instances.json image 1 (b.jpg): its id is that of a.jpg" in refusal(open_coco, coco)

    def test_a_repeated_object_of_voc(self, voc):
        voc.add("a", object_xml(), object_xml(), object_xml(box=(1, 1, 9, 9)))
        assert boxes(open_voc(voc)) == {"a": [*CAT, [1, 1, 9, 9]]}
        assert words(open_voc(voc)) == [
            "merged: objects: those that repeat the class and the box of another are read once "
            "(Annotations/a.xml object 1)"
        ]
