"""What all strategies stand on: standardised maps, paired levels, matched anchors, checked arguments."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.strategies import AttentionMap, Hint, LayerRelation, SoftBoxes, SoftClasses, Strategy
from mkd_tf.strategies.maps import adapter, flatten_map, standardize
from mkd_tf.strategies.matching import match_anchors, pair_levels
from tests import reference
from tests.strategies import fakes

TAPS = ("P3", "P4", "P5")


def test_standardize_against_the_reference():
    rng = np.random.default_rng(0)
    maps = rng.normal(3, 2, (2, 4, 5, 3)).astype("float32")
    weights = rng.choice([0.1, 1.0], (2, 4, 5)).astype("float32")
    plain = standardize(flatten_map(maps))
    weighted = standardize(flatten_map(maps), weights.reshape(2, 20, 1))
    for i in range(2):
        expected = reference.standardized(maps[i]).reshape(20, 3)
        np.testing.assert_allclose(plain[i], expected, atol=1e-4)
        expected = reference.standardized(maps[i], weights[i]).reshape(20, 3)
        np.testing.assert_allclose(weighted[i], expected, atol=1e-4)


def test_standardize_by_hand():
    # Mean 3, variance 4; with weights 3 and 1 mean 2 and variance 3.
    column = np.float32([[[1.0], [5.0]]])
    np.testing.assert_allclose(standardize(column)[0, :, 0], [-1, 1], atol=1e-4)
    weighted = standardize(column, np.float32([[[3.0], [1.0]]]))
    np.testing.assert_allclose(weighted[0, :, 0], [-1 / np.sqrt(3), np.sqrt(3)], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e4])
def test_a_constant_channel_becomes_zero(value):
    # A mean of 0.1 is not exact in float32: what is left must not be blown up to variance 1.
    maps = np.full((1, 30, 2), value, "float32")
    np.testing.assert_allclose(standardize(maps), 0, atol=1e-3)


def test_half_precision_is_summed_in_float32():
    maps = np.random.default_rng(0).normal(20, 1, (1, 64, 2)).astype("float16")
    found = keras.ops.convert_to_numpy(standardize(maps))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-3)


def test_levels_are_paired_by_equal_grid():
    student = fakes.port("student", 64)
    assert pair_levels(fakes.port("teacher", 64), student, TAPS) == [(t, t) for t in TAPS]
    assert pair_levels(fakes.port("teacher", 128), student, TAPS) == [("P4", "P3"), ("P5", "P4")]
    assert pair_levels(fakes.port("teacher", 64), fakes.port("student", 128), TAPS) == [
        ("P3", "P4"),
        ("P4", "P5"),
    ]


def test_a_map_of_the_backbone_is_not_paired_with_one_of_the_pyramid():
    student, taps = fakes.port("student", 64), ("C4", "P4", "P3", "C3")
    assert pair_levels(fakes.port("teacher", 64), student, taps) == [(t, t) for t in taps]
    assert pair_levels(fakes.port("teacher", 128), student, taps) == [("P4", "P3"), ("C4", "C3")]


def test_sizes_without_a_common_grid_are_told():
    with pytest.raises(MkdError, match=r"taps P3, P4, P5: expected a common grid .*\(12, 12\).*power of two"):
        pair_levels(fakes.port("teacher", 96), fakes.port("student", 64), TAPS)


def test_equal_anchors_match_themselves():
    index, matched = match_anchors(grid_anchors(64), grid_anchors(64))
    assert index.tolist() == list(range(84))
    assert (matched == 1).all()


def test_anchors_of_another_input_size_match_by_location():
    # At twice the size the teacher's P4 has the grid and the anchors of the student's
    # P3, as fractions of the image; the student's P5 has no partner: twice the side
    # of the teacher's largest, an IoU of at most a quarter.
    source, target = grid_anchors(128), grid_anchors(64)
    index, matched = match_anchors(source, target)
    p3, p4, p5 = np.split(np.arange(84), [64, 80])
    assert index[p3].tolist() == list(range(256, 256 + 64))
    assert index[p4].tolist() == list(range(256 + 64, 256 + 64 + 16))
    assert matched.tolist() == [1.0] * 80 + [0.0] * 4
    np.testing.assert_allclose(source.normalized()[index[p3]], target.normalized()[p3], atol=1e-6)
    assert len(p5) == 4


def test_anchors_in_another_order_match_by_overlap():
    target = grid_anchors(64)
    order = np.random.default_rng(0).permutation(84)
    source = Anchors(2 * target.boxes[order], (84,), 128)
    index, matched = match_anchors(source, target)
    np.testing.assert_array_equal(order[index], np.arange(84))
    assert (matched == 1).all()


def test_an_adapter_is_built_and_starts_apart():
    keras.utils.set_random_seed(0)
    layer = adapter(5, 3, "carry")
    assert layer(np.zeros((2, 4, 4, 3), "float32")).shape == (2, 4, 4, 5)
    assert len(layer.trainable_variables) == 1, "a bias would vanish in the standardisation"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1}, "weight of soft_classes: expected a number of 0 or more, got -1"),
        ({"weight": float("nan")}, "weight of soft_classes"),
        ({"weight": "1"}, "weight of soft_classes: .*got '1'"),
        (
            {"source": "student"},
            "source of soft_classes: expected one of teacher, guide, best, got 'student'",
        ),
        ({"form": "linear"}, "form of soft_classes: expected one of sigmoid, softmax, got 'linear'"),
        ({"mask": "objects"}, "mask of soft_classes: expected one of none, foreground, got 'objects'"),
        ({"rise": 1.5}, "rise of soft_classes: expected a number from 0 to 1"),
        ({"fall": -0.1}, "fall of soft_classes"),
        ({"fall": "late"}, "fall of soft_classes"),
        ({"tau": 0}, "tau of soft_classes: expected a number above 0"),
        ({"start": 1.5}, "start of soft_classes: expected a number from 0 to 1"),
        ({"start": 0.5, "end": 0.5}, "phase of soft_classes: expected a start before its end"),
        ({"every": 3}, "every of soft_classes: expected a divisor of 20, got 3"),
        ({"every": 0}, "every of soft_classes"),
        ({"every": "2"}, "every of soft_classes: .*got '2'"),
        ({"every": 2.0}, "every of soft_classes"),
        (
            {"images": "known"},
            "images of soft_classes: expected one of all, labelled, unlabelled",
        ),
        ({"soft_target": "iou"}, "soft_target of soft_classes: expected one of score, score_iou, got 'iou'"),
        (
            {"soft_target": "score_iou", "form": "softmax"},
            "soft_target of soft_classes: expected score with form='softmax', got 'score_iou'",
        ),
    ],
)
def test_arguments_out_of_range_are_told(arguments, message):
    with pytest.raises(MkdError, match=message):
        SoftClasses(**arguments)


@pytest.mark.parametrize("strategy", [SoftClasses, SoftBoxes, AttentionMap])
def test_a_term_acts_on_the_chosen_images(strategy):
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    targets = {"student": fakes.targets(ports["student"]) | {"labelled": np.float32([0, 1])}}
    terms = {}
    for images in ("all", "labelled", "unlabelled"):
        made = strategy(images=images)
        made.connect(ports)
        terms[images] = np.array(made(outputs, targets))
    assert (terms["all"] > 0).all()
    np.testing.assert_allclose(terms["labelled"], terms["all"] * [0, 1])
    np.testing.assert_allclose(terms["unlabelled"], terms["all"] * [1, 0])
    del targets["student"]["labelled"]
    with pytest.raises(MkdError, match="images of .*: expected targets that say which images are labelled"):
        made(outputs, targets)


def test_a_configuration_without_phase_and_images_still_loads():
    old = SoftClasses(weight=2.0, rise=0.1).get_config()
    for name in ("start", "end", "every", "images", "soft_target"):
        del old[name]
    again = SoftClasses.from_config(old)
    assert (again.weight, again.rise, again.start, again.end, again.every, again.images) == (
        2.0,
        0.1,
        0,
        1,
        1,
        "all",
    )


def connect(strategy, source="teacher"):
    strategy.connect({source: fakes.port(source), "student": fakes.port()})


def test_a_target_that_is_not_there_is_told():
    with pytest.raises(MkdError, match=r"expected a guide that learns, got networks teacher, student"):
        connect(SoftClasses(target="guide"))


@pytest.mark.parametrize("strategy", [AttentionMap, LayerRelation, Hint])
def test_features_have_no_best_source(strategy):
    with pytest.raises(MkdError, match="source of .*: expected one of teacher, guide, got 'best'"):
        strategy(source="best")


@pytest.mark.parametrize("strategy", [AttentionMap, LayerRelation])
def test_a_mask_that_is_not_there_is_told(strategy):
    with pytest.raises(MkdError, match="mask of .*: expected one of none, foreground"):
        strategy(mask="objects")


def test_a_network_does_not_learn_from_itself():
    ports = {role: fakes.port(role) for role in ("teacher", "guide", "student")}
    for source in ("guide", "best"):
        with pytest.raises(MkdError, match=f"a target other than its source {source}, got target guide"):
            SoftClasses(source=source, target="guide").connect(ports)


@pytest.mark.parametrize("strategy", [AttentionMap, LayerRelation, Hint])
def test_a_tap_that_is_not_there_is_told(strategy):
    wrong = {"pairs": (("C3", "P9"),)} if strategy is LayerRelation else {"taps": ("P3", "P4", "P9")}
    with pytest.raises(MkdError, match=r"taps of a strategy: expected some of C3, .* got 'P9'"):
        connect(strategy(source="teacher", **wrong))


def test_a_strategy_must_say_how_it_compares():
    with pytest.raises(NotImplementedError):
        Strategy(name="empty").call({}, {})
