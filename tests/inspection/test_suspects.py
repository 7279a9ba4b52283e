"""Every check finds what it is for, and nothing in a sound data set."""

import numpy as np
import pytest

from mkd_tf.inspection import suspects
from mkd_tf.inspection.contents import read_contents
from mkd_tf.inspection.copies import find_copies, image_hash
from mkd_tf.inspection.suspects import CHECKS, comparable, find_suspects
from tests.inspection.made import Made, image, noise, plain

NAMES = ("cat", "dog")


def found_in(names=NAMES, **splits):
    dataset = Made(names, **splits)
    return {s["kind"]: s for s in find_suspects(read_contents(dataset, 64), dataset.class_names)}


def test_a_sound_data_set_has_none():
    assert not found_in(train=plain(40), validation=plain(8), test=plain(8))


@pytest.mark.parametrize(
    ("first", "second"),
    [("Cat", "cat "), ("traffic light", "traffic_light"), ("ｃａｔ", "cat"), ("a-b", "A b")],
)
def test_names_that_sound_alike(first, second):
    assert comparable(first) == comparable(second)
    (one,) = suspects.similar_names({}, (first, "dog", second))
    assert repr(first) in one["message"] and repr(second) in one["message"]


def test_names_that_differ():
    assert not suspects.similar_names({}, ("cat", "cats", "+", "-", "猫", "犬"))


def test_empty_and_lonely_classes():
    names = ("cat", "dog", "emu", "fox", "gnu")
    found = found_in(
        names, train=plain(4, (0, 1, 2)), test=plain(4, (0, 1, 3)), unlabelled=[image("u", is_labelled=False)]
    )
    assert found["empty class"]["message"] == "no object of 'gnu' in any split"
    contents = read_contents(Made(names, train=plain(4, (0, 1, 2)), test=plain(4, (0, 1, 3))), 64)
    messages = [s["message"] for s in suspects.lonely_classes(contents, names)]
    assert messages == [
        "objects of 'emu': only in train, so that nothing measures it",
        "objects of 'fox': only in test, so that no network can learn it",
    ]


def test_tiny_whole_and_double_boxes_are_placed():
    train = [
        *plain(3),
        image("tiny", (0, 5, 5, 6, 30), (1, 50, 50, 80, 80)),
        image("whole", (0, 0, 0, 90, 119)),
        image("double", (0, 10, 10, 50, 50), (1, 60, 60, 80, 80), (0, 10, 10, 50, 51)),
        image("two", (0, 10, 10, 50, 50), (1, 10, 10, 51, 50)),
    ]
    found = found_in(train=train, test=plain(3))
    assert set(found) == {"tiny box", "whole image", "double label", "two classes"}
    places = {kind: [(p["image"], p["object"]) for p in one["places"]] for kind, one in found.items()}
    assert places["tiny box"] == [("tiny", 0)] and places["whole image"] == [("whole", 0)]
    assert places["double label"] == [("double", 2)] and places["two classes"] == [("two", 1)]
    assert found["two classes"]["places"][0]["note"] == "cat / dog"


def test_double_labels_are_those_of_all_pairs():
    generator = np.random.default_rng(0)
    train = []
    for i in range(6):
        low = generator.uniform(0, 40, (30, 2))
        boxes = np.concatenate([low, low + generator.uniform(5, 40, (30, 2))], axis=1)
        boxes = np.concatenate([boxes, boxes[::3] + generator.uniform(0, 1.5, (10, 4))])
        train.append(image(f"i{i}", *[(0, *box) for box in boxes.tolist()]))
    contents = read_contents(Made(NAMES, train=train), 64)["train"]
    pairs = set()
    for i in range(len(contents.labels)):
        for j in range(i + 1, len(contents.labels)):
            a, b = contents.boxes[i], contents.boxes[j]
            shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
            union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
            if contents.image[i] == contents.image[j] and shared / union > suspects.DOUBLE_IOU:
                pairs.add((i, j))
    assert pairs and set(suspects._overlapping(contents)) == pairs


def test_swapped_axes_show_in_the_reach_of_boxes():
    # 120 x 90 px: with x and y exchanged no box reaches beyond 90 px to the right.
    wide = [image(f"i{i}", *[(0, 10, 10 + 8 * k, 40, 30 + 8 * k) for k in range(4)]) for i in range(12)]
    assert "swapped" in found_in(("cat",), train=wide)["swapped axes"]["message"]
    wide.append(image("far", (0, 10, 80, 40, 110)))
    assert not found_in(("cat",), train=wide)
    assert not found_in(("cat",), train=wide[:5])


def test_copies_in_a_split_and_across():
    train, test = plain(6), plain(3, start=20)
    dataset = Made(NAMES, train=train, test=test)

    def pixels(seed):
        return noise(seed, (90, 120))

    dataset.split("train").image = lambda i: pixels(0 if i == 4 else i)
    dataset.split("test").image = lambda i: pixels(2 if i == 1 else i + 50)
    ids = {"train": [f"i{i}" for i in range(6)], "test": ["i20", "i21", "i22"]}
    inside, across = find_copies(dataset, ids)
    assert (inside["kind"], inside["count"]) == ("copies in a split", 1)
    assert inside["places"][0] | {"note": ""} == {
        "split": "train",
        "image": "i4",
        "note": "",
        "twin": ["train", "i0"],
    }
    assert across["places"] == [
        {"split": "test", "image": "i21", "note": "like train i2", "twin": ["train", "i2"]}
    ]
    brighter = np.clip(pixels(1).astype(int) + 9, 0, 255).astype("uint8")
    assert (image_hash(pixels(1)) != image_hash(brighter)).sum() <= 12


def test_places_are_of_different_images_first_and_bounded():
    train = [image(f"i{i}", *[(0, 1, 10 * k, 2, 10 * k + 9) for k in range(9)]) for i in range(4)]
    one = found_in(("cat",), train=train)["tiny box"]
    assert one["count"] == 36 and len(one["places"]) == suspects.SHOWN
    assert [place["image"] for place in one["places"][:5]] == ["i0", "i1", "i2", "i3", "i0"]
    assert len(CHECKS) == 7
