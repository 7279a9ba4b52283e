"""Which class of a teacher is which of the data set."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.teachers import map_classes, parse_class_map
from mkd_tf.teachers.class_names import COCO_IDS, category_names, given_names


def test_names_decide_and_not_positions():
    found = map_classes(("b", "a", "c"), ("a", "b", "d"))
    assert found.index.tolist() == [1, 0, -1]
    assert found.dropped == ("c",) and found.missing == ("d",)
    assert found.notes() == [
        "classes of the teacher that are dropped: c",
        "classes that the teacher does not know: d",
    ]


def test_spelling_does_not_decide():
    assert map_classes(("Traffic_Light", "Ten-Spot"), ("ten spot", "traffic light")).index.tolist() == [1, 0]


def test_explicit_pairs_go_before_names():
    explicit = parse_class_map("car=vehicle, truck = vehicle,vehicle=car")
    found = map_classes(("car", "truck", "vehicle"), ("vehicle", "car"), explicit)
    assert found.index.tolist() == [0, 0, 1] and not found.dropped and not found.missing


def test_apply_leaves_out_dropped_classes():
    found = map_classes(("x", "a", "b"), ("a", "b"))
    boxes = np.arange(12, dtype="float32").reshape(3, 4)
    mapped = found.apply(Detections(boxes, np.float32([0.9, 0.8, 0.7]), np.int32([2, 0, 1])))
    assert mapped.labels.tolist() == [1, 0] and mapped.labels.dtype == np.int32
    np.testing.assert_array_equal(mapped.boxes, boxes[[0, 2]])


@pytest.mark.parametrize(
    ("teacher", "data", "explicit", "message"),
    [
        (("cat", "dog"), ("ace", "king"), "", r"a class of the data set \(ace, king\).*got cat, dog"),
        (("0", "1"), ("cat", "dog"), "", r"got numbers alone \(0, 1\)"),
        (("1", "2", "3"), ("0", "1", "2"), "", "numbers alone"),
        (("class_1", "class_0"), ("class_0", "class_1"), "", "numbers alone"),
        (("0", "1"), ("cat", "dog"), "0=cat", "numbers alone"),
        (("cat", "Cat"), ("cat",), "", "names that differ in the teacher, got 'cat' and 'Cat'"),
        (("cat",), ("cat",), "bird=cat", "a class of the teacher: cat, got 'bird'"),
        (("cat",), ("cat",), "cat=bird", "a class of the data set: cat, got 'bird'"),
    ],
)
def test_what_names_cannot_decide_is_refused(teacher, data, explicit, message):
    with pytest.raises(MkdError, match=message):
        map_classes(teacher, data, parse_class_map(explicit))


def test_numbers_that_every_class_maps_or_that_are_the_same_are_names():
    assert map_classes(("0", "1"), ("cat", "dog"), {"0": "dog", "1": "cat"}).index.tolist() == [1, 0]
    assert map_classes(("0", "1"), ("0", "1")).index.tolist() == [0, 1]


@pytest.mark.parametrize("text", ["car", "car=", "=car", "a=b=c", "a=b, a=c"])
def test_malformed_maps(text):
    with pytest.raises(MkdError, match="class_map"):
        parse_class_map(text)


def test_coco_has_its_gaps():
    assert len(COCO_IDS) == 80
    assert (COCO_IDS[1], COCO_IDS[13], COCO_IDS[90]) == ("person", "stop sign", "toothbrush")


def test_classes_as_users_write_them(tmp_path):
    (tmp_path / "names.txt").write_text("???\ncat\n\ndog\n")
    assert given_names("x", str(tmp_path / "names.txt")) == ("???", "cat", "", "dog")
    assert given_names("x", "cat, dog") == given_names("x", ["cat", "dog"]) == ("cat", "dog")
    assert given_names("x", {3: "dog", 1: "cat"}) == {1: "cat", 3: "dog"}
    assert given_names("x", "") is None
    for wrong in ("a, a", {"a": 1}, str(tmp_path / "no.txt")):
        with pytest.raises(MkdError, match="x, classes"):
            given_names("x", wrong)


def test_category_ids_without_names_are_refused_unless_they_can_only_begin_at_one_number():
    assert category_names("x", None, "a, b, c", [0, 2]) == {0: "a", 1: "b", 2: "c"}
    assert category_names("x", None, "a, b, c", [1, 3]) == {1: "a", 2: "b", 3: "c"}
    assert category_names("x", {7: "a"}, "", [7]) == {7: "a"}
    for used, classes, message in (
        ([1, 2], "a, b, c", "fit both"),
        ([0, 3], "a, b, c", "fit neither"),
        ([1], "", "category ids alone"),
        ([12], "coco", "got 12"),
    ):
        with pytest.raises(MkdError, match=message):
            category_names("x", None, classes, used)
