"""Class names, categories and ids that look different and mean the same: cases 03, 04, 12, 13 and 16."""

import pytest

from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.values import record_id
from tests.data.sources.cases import boxes, objects, open_coco, open_voc, refusal, words
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import object_xml

WRITTEN = {
    "line break": "traffic\n   light",
    "tab": "traffic\tlight",
    "no-break space": "traffic\u00a0light",
    "two spaces": "traffic  light",
    "ideographic space": "traffic\u3000light",
    "zero width": "traffic\u200b light",
    "byte order mark": "\ufefftraffic light",
    "soft hyphen": "traf\u00adfic light",
    "control": "traffic\x7f light",
}


class TestOneLine:
    @pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
    def test_voc_and_coco_read_one_class_and_say_so(self, voc, coco, text):
        voc.add("a", object_xml("traffic light"))
        voc.add("b", object_xml(text.replace("\x7f", "&#127;")))
        read = open_voc(voc)
        assert read.class_names == ("traffic light",)
        assert words(read) == [f"changed: classes: {text!r} is read as 'traffic light' (Annotations/b.xml)"]

        coco.content["categories"] = [{"id": 1, "name": text}]
        coco.add(1, "a.jpg")
        coco.annotate(1, category_id=1)
        read = open_coco(coco)
        assert objects(read) == {"a.jpg": ["traffic light"]}
        assert words(read) == [f"changed: classes: {text!r} is read as 'traffic light' (instances.json)"]

    def test_letters_of_another_unicode_form_are_one_class(self, voc):
        voc.add("a", object_xml("cafe\u0301"))
        voc.add("b", object_xml("caf\u00e9"))
        assert open_voc(voc).class_names == ("caf\u00e9",)
        assert words(open_voc(voc)) == [
            "changed: classes: 'cafe\u0301' is read as 'caf\u00e9' (Annotations/a.xml)"
        ]

    @pytest.mark.parametrize("name", ["می‌خواهم", "👩‍🚒", "क्‍ष"])
    def test_joiners_that_are_letters_stay(self, name):
        assert class_name(name, "file") == name

    def test_joiners_between_latin_letters_go(self):
        assert class_name("ca\u200dt\u200c", "file") == "cat"

    @pytest.mark.parametrize("name", ["Cat", "CAT", "ｃａｔ"])
    def test_case_is_a_warning(self, voc, name):
        voc.add("a", object_xml("cat"))
        voc.add("b", object_xml(name))
        shown = " and ".join(map(repr, sorted((name, "cat"))))
        assert words(open_voc(voc)) == [
            f"suspect: classes: classes {shown} differ by case, width or space alone",
        ]
        assert open_voc(voc).class_names == tuple(sorted((name, "cat")))

    @pytest.mark.parametrize("name", ["   ", "\u200b", "\n"])
    def test_a_name_that_shows_nothing_is_refused(self, voc, coco, name):
        voc.add("a", object_xml(name), object_xml())
        expected = "no <name>" if not name.strip() else f"its class name {name!r} shows nothing"
        assert f"Annotations/a.xml object 0: {expected}" in refusal(open_voc, voc)
        coco.add(1, "a.jpg")
        coco.content["categories"] += [{"id": 4, "name": name}]
        assert "expected categories with an integer 'id' and a 'name', got {'id': 4" in refusal(
            open_coco, coco
        )

    def test_classes_that_are_given_are_read_alike(self, voc):
        voc.add("a", object_xml("traffic light"))
        assert open_voc(voc, classes=["traffic\u00a0light"]).class_names == ("traffic light",)

    @pytest.mark.parametrize("value", [None, 1.5, ["a"], True])
    def test_what_is_no_text_is_no_name(self, value):
        with pytest.raises(BadExample, match="its class name is"):
            class_name(value, "file", Notices())


class TestCategories:
    def test_names_that_differ_by_space_are_one_class(self, coco):
        coco.content["categories"] = [{"id": 1, "name": "cat "}, {"id": 2, "name": " cat"}]
        for number in (1, 2):
            coco.add(number, f"{number}.jpg")
            coco.annotate(number, category_id=number)
        assert objects(open_coco(coco)) == {"1.jpg": ["cat"], "2.jpg": ["cat"]}
        assert words(open_coco(coco)) == [
            "merged: instances.json: categories whose names differ by space or Unicode form alone are "
            "one class (cat)"
        ]

    @pytest.mark.parametrize(
        ("root", "left"),
        [
            ({"id": 0, "name": "fish", "supercategory": "none"}, ("fish", "trap")),
            ({"id": 0, "name": "objects", "supercategory": "none"}, ("fish", "trap")),
            ({"id": 7, "name": "Sea", "supercategory": ""}, ("fish", "trap")),
        ],
    )
    def test_an_unused_supercategory_is_dropped(self, coco, root, left):
        children = [
            {"id": n, "name": name, "supercategory": root["name"]} for n, name in ((1, "fish"), (2, "trap"))
        ]
        coco.content["categories"] = [root, *children]
        coco.add(1, "a.jpg")
        for number in (1, 2):
            coco.annotate(1, category_id=number, bbox=[number, 1, 9, 9])
        dataset = open_coco(coco)
        assert (dataset.class_names, objects(dataset)) == (left, {"a.jpg": ["fish", "trap"]})
        assert words(dataset) == [
            "unused: instances.json: categories that no annotation uses and that are the supercategory of "
            f"others are dropped ({root['name']})"
        ]

    def test_a_supercategory_that_is_used_stays(self, coco):
        coco.content["categories"] = [
            {"id": 1, "name": "car", "supercategory": "vehicle"},
            {"id": 2, "name": "vehicle"},
        ]
        coco.add(1, "a.jpg")
        coco.annotate(1, category_id=2)
        assert open_coco(coco).class_names == ("car", "vehicle")

    def test_a_name_that_is_used_twice_is_refused(self, coco):
        coco.content["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]
        coco.add(1, "a.jpg")
        for number in (1, 2):
            coco.annotate(1, category_id=number)
        assert "expected each category's id and name once, got 'cat' (2) beside {1: 'cat'}" in refusal(
            open_coco, coco
        )


class TestSeveralFiles:
    @pytest.fixture
    def train(self, coco):
        coco.content["categories"] = [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}]
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        return coco

    def of_validation(self, train, categories, category_id):
        other = CocoMaker(train.root, "images", "val.json")
        other.content["categories"] = categories
        other.add(1, "b.jpg")
        other.annotate(1, category_id=category_id)
        return open_coco(train, validation_annotations=other.write(), fractions=(0.7, 0.3, 0))

    def test_a_file_may_lack_classes(self, train):
        dataset = self.of_validation(train, [{"id": 9, "name": "dog"}], 9)
        assert (dataset.class_names, objects(dataset, "validation")) == (("cat", "dog"), {"b.jpg": ["dog"]})
        assert words(dataset) == []

    def test_a_file_may_have_more_classes(self, train):
        dataset = self.of_validation(train, [{"id": 9, "name": "dog"}, {"id": 11, "name": "eel"}], 11)
        assert (dataset.class_names, objects(dataset, "validation")) == (
            ("cat", "dog", "eel"),
            {"b.jpg": ["eel"]},
        )

    def test_classes_go_by_their_names(self, train):
        dataset = self.of_validation(train, [{"id": 4, "name": "dog"}], 4)
        assert objects(dataset, "validation") == {"b.jpg": ["dog"]}
        assert words(dataset) == [
            "changed: val.json: category ids differ from those of instances.json: classes go by "
            "their names (dog)"
        ]

    def test_an_id_with_two_names_is_refused(self, train):
        text = refusal(self.of_validation, train, [{"id": 3, "name": "cow"}], 3)
        assert "got a difference in 2, such as 3: 'cat'. Write both files with the same categories." in text


class TestIds:
    @pytest.mark.parametrize("written", ["7", 7.0, "7.0", " 7 ", "007"])
    def test_category_ids_go_by_value(self, coco, written):
        coco.content["categories"] = [{"id": 7, "name": "cat"}]
        coco.add(1, "a.jpg")
        coco.annotate(1, category_id=written)
        assert objects(open_coco(coco)) == {"a.jpg": ["cat"]}
        coco.content["categories"] = [{"id": written, "name": "cat"}]
        assert objects(open_coco(coco)) == {"a.jpg": ["cat"]}

    @pytest.mark.parametrize(
        ("listed", "given"), [(100, "100"), ("100", 100.0), ("000100", 100), ("x1", " x1 ")]
    )
    def test_image_ids_go_by_value(self, coco, listed, given):
        coco.add(listed, "a.jpg")
        coco.annotate(given)
        assert boxes(open_coco(coco)) == {"a.jpg": [[10, 12, 30, 40]]}

    @pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), [1], {}, "", "  "])
    def test_what_is_no_id(self, value):
        assert record_id(value) is None

    def test_other_text_is_an_id_of_its_own(self):
        assert [record_id(text) for text in ("1e3", "0x1", "a", "½", "٣", "-2")] == [
            "1e3",
            "0x1",
            "a",
            "½",
            "٣",
            -2,
        ]
