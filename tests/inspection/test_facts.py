"""Counts and sizes against loops and values worked by hand."""

import numpy as np

from mkd_tf.data.base import WHOLE
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.inspection.contents import read_contents
from mkd_tf.inspection.facts import split_facts
from mkd_tf.inspection.inspecting import strides_of
from mkd_tf.inspection.learnable import learnable
from tests.inspection.made import Made, image

NAMES = ("cat", "dog", "emu")


def test_a_split_is_counted():
    train = [
        image("a", (0, 0, 0, 45, 60), (1, 0, 0, 3, 4)),
        image("b", (0, 10, 10, 40, 50), is_difficult=np.array([True])),
        image("c"),
        image("d", unknown=[WHOLE]),
        image("e", (1, 0, 0, 90, 120), is_crowd=np.array([True]), unknown=[[0, 0, 0.5, 0.5]]),
    ]
    dataset = Made(NAMES, train=train)
    contents = read_contents(dataset, 64)["train"]
    # 45 of 90 px is half of a 64 px input: 32 x 32 px. The small one is 64 * 3 / 90 by 64 * 4 / 120.
    np.testing.assert_allclose(
        contents.size_px, [32, (64 * 3 / 90 * 64 * 4 / 120) ** 0.5, 64 / 3, 64], rtol=1e-4
    )
    facts = split_facts(contents, NAMES, np.array([1.0, 1.0, np.nan, 0.0]), 8)
    assert (facts["images"], facts["labelled"], facts["unlabelled"]) == (5, 5, 0)
    assert (facts["objects"], facts["crowds"], facts["difficult"], facts["below_stride"]) == (3, 1, 1, 1)
    # "d" is unknown and "e" holds a crowd, which is no object: both are no ordinary negatives.
    assert (facts["negatives"], facts["unknown_images"], facts["unknown_areas"]) == (1, 1, 1)
    assert facts["learnable"] == 3 and facts["assigned_images"] == 1
    cat = facts["per_class"]["cat"]
    assert (cat["images"], cat["objects"]) == (2, 2) and abs(cat["median_px"] - (32 + 64 / 3) / 2) < 1e-3
    assert facts["per_class"]["emu"]["median_px"] is None
    assert (facts["height_px"], facts["width_px"]) == (90, 120)


def test_letterbox_keeps_proportions():
    dataset = Made(
        NAMES, train=[image("a", (0, 0, 0, 90, 120)), image("b", (0, 0, 0, 40, 20), size=(40, 20))]
    )
    fitted = read_contents(dataset, 64, "letterbox")["train"].fitted
    np.testing.assert_allclose(fitted, [[0, 0, 48, 64], [0, 0, 64, 32]], atol=1e-4)


def test_of_two_equal_boxes_one_gets_no_location():
    dataset = Made(
        NAMES, train=[image("a", (0, 0, 0, 45, 60), (1, 0, 0, 45, 60)), image("b", (2, 30, 30, 80, 90))]
    )
    anchors = grid_anchors(64)
    found = learnable(read_contents(dataset, 64)["train"], anchors)
    assert found.tolist() == [1, 0, 1]
    assert np.isnan(learnable(read_contents(dataset, 64)["train"], anchors, most=1)).tolist() == [0, 0, 1]
    assert strides_of(anchors) == [8, 16, 32]
