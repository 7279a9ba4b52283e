"""The assignment against a slow one, and what must hold of any assignment."""

import keras
import numpy as np
import pytest

from mkd_tf.detection import targets
from mkd_tf.detection.anchors import Anchors, grid_anchors
from tests import reference

ANCHORS = grid_anchors(64)
CLASSES = 3


def assigned(boxes, labels, weights, anchors=ANCHORS, **options):
    """Assigns to one image; the result without its batch dimension, as NumPy."""
    found = targets.assign(
        anchors,
        np.float32(boxes).reshape(1, -1, 4),
        np.int32(labels)[None],
        np.float32(weights)[None],
        CLASSES,
        **options,
    )
    return {name: keras.ops.convert_to_numpy(value)[0] for name, value in found.items()}


def random_objects(rng, count, side=64, least=2.0):
    low = rng.uniform(0, side - least, (count, 2))
    high = low + np.maximum(rng.uniform(0, 1, (count, 2)) ** 2 * (side - low), least)
    return np.concatenate([low, high], axis=1).astype("float32")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("top_k", [9, 4])
def test_against_the_reference(seed, top_k):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    boxes = random_objects(rng, count)
    labels, weights = rng.integers(0, CLASSES, count), rng.uniform(0.1, 1, count).astype("float32")
    found = assigned(boxes, labels, weights, top_k=top_k)
    expected = reference.assign(ANCHORS.boxes, ANCHORS.level_counts, boxes, labels, weights, CLASSES, top_k)
    for name, values in zip(("labels", "boxes", "weights"), expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    assert (found["labels"] < CLASSES).any()


def test_one_object_by_hand():
    # A box of 32 px in the middle. The four anchors of 32 px around its centre are shifted
    # by (4, 4): 28^2 / (2 * 32^2 - 28^2) = 0.62. The next eight are shifted by (4, 12):
    # 28 * 20 / (2 * 32^2 - 28 * 20) = 0.38; anchors of 64 px overlap at most 32^2 / 64^2 =
    # 0.25, those of 128 px less. Only the four reach mean + deviation.
    found = assigned([16, 16, 48, 48], [1], [1.0])
    positive = np.flatnonzero(found["labels"] < CLASSES)
    assert positive.tolist() == [3 * 8 + 3, 3 * 8 + 4, 4 * 8 + 3, 4 * 8 + 4]
    assert (found["labels"][positive] == 1).all()
    assert (found["boxes"][positive] == [16, 16, 48, 48]).all()


def test_examples_of_a_batch_do_not_meet():
    rng = np.random.default_rng(0)
    boxes = np.stack([random_objects(rng, 4) for _ in range(3)])
    labels, weights = rng.integers(0, CLASSES, (3, 4)).astype("int32"), np.ones((3, 4), "float32")
    together = targets.assign(ANCHORS, boxes, labels, weights, CLASSES)
    for i in range(3):
        alone = assigned(boxes[i], labels[i], weights[i])
        for name in alone:
            np.testing.assert_array_equal(together[name][i], alone[name])


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (10, 10, 40, 40)])
def test_padding_claims_nothing(padding):
    objects = [[4, 4, 30, 30], [20, 30, 60, 60]]
    bare = assigned(objects, [0, 1], [1.0, 0.5])
    padded = assigned([*objects, padding, padding], [0, 1, 2, 0], [1.0, 0.5, 0.0, 0.0])
    for name in bare:
        np.testing.assert_array_equal(bare[name], padded[name])


def test_an_image_without_objects_is_background():
    found = assigned(np.zeros((3, 4)), [0, 0, 0], [0, 0, 0])
    assert (found["labels"] == CLASSES).all()
    assert (found["weights"] == 0).all()
    np.testing.assert_array_equal(found["boxes"], ANCHORS.boxes)


def test_weights_and_background_rows():
    found = assigned([[2, 2, 22, 22], [30, 30, 62, 62]], [0, 2], [0.25, 1.0])
    for label, weight in ((0, 0.25), (2, 1.0), (CLASSES, 0.0)):
        rows = found["labels"] == label
        assert rows.any()
        assert (found["weights"][rows] == weight).all()
    background = found["labels"] == CLASSES
    np.testing.assert_array_equal(found["boxes"][background], ANCHORS.boxes[background])
    assert found["labels"].dtype == np.int32


@pytest.mark.parametrize("side", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("corner", [(0, 0), (29.5, 13.2), (62, 63)])
def test_an_object_smaller_than_a_stride_gets_a_location(side, corner):
    box = [*corner, min(corner[0] + side, 64), min(corner[1] + side, 64)]
    found = assigned(box, [1], [1.0])
    positive = found["labels"] == 1
    assert positive.any()
    centers = ANCHORS.centers_and_sizes()[positive, :2]
    assert np.abs(centers - corner).max() < 16, "a location far away answers for it"


def test_an_object_inside_a_larger_one_is_not_lost():
    lost, rng = 0, np.random.default_rng(0)
    for _ in range(30):
        center = rng.uniform(20, 44, 2)
        inner = center + rng.uniform(-8, 8, 2)
        outer_box, inner_box = [*(center - 16), *(center + 16)], [*(inner - 2), *(inner + 2)]
        lost += not (assigned([outer_box, inner_box], [0, 1], [1.0, 1.0])["labels"] == 1).any()
    assert lost == 0


def test_an_object_as_large_as_the_image_gets_a_location():
    assert (assigned([0, 0, 64, 64], [1], [1.0])["labels"] == 1).any()


def test_a_location_claimed_twice_goes_to_the_higher_overlap():
    # Both want the anchors around the centre, (12..44) and (20..52); the first is the
    # anchor at (28, 28) itself.
    exact, shifted = [12, 12, 44, 44], [16, 16, 48, 48]
    for order in (1, -1):
        found = assigned([exact, shifted][::order], [0, 1][::order], [0.3, 1.0][::order])
        cell = 3 * 8 + 3
        assert found["labels"][cell] == 0
        assert found["weights"][cell] == pytest.approx(0.3)
        np.testing.assert_array_equal(found["boxes"][cell], exact)


def test_assignment_does_not_change_with_scale():
    rng = np.random.default_rng(3)
    boxes = random_objects(rng, 5)
    labels, weights = [0, 1, 2, 0, 1], np.ones(5)
    small = assigned(boxes, labels, weights)
    large = assigned(2 * boxes, labels, weights, grid_anchors(128, strides=(16, 32, 64)))
    np.testing.assert_array_equal(small["labels"], large["labels"])


def ignored_by_loops(anchors, boxes, weights, assigned_weights):
    """The definition of `ignored`, one location and one box at a time."""
    found = np.zeros(len(anchors), "float32")
    for n, anchor in enumerate(np.clip(anchors.boxes.astype("float64"), 0, anchors.image_size)):
        own = (anchor[2] - anchor[0]) * (anchor[3] - anchor[1])
        for box, weight in zip(boxes.astype("float64"), weights, strict=True):
            height = min(anchor[2], box[2]) - max(anchor[0], box[0])
            width = min(anchor[3], box[3]) - max(anchor[1], box[1])
            common = max(height, 0) * max(width, 0)
            if weight < 0 and common / own >= 0.5 and assigned_weights[n] == 0:
                found[n] = 1
    # And where the area would be an object's.
    for box in boxes[weights < 0]:
        one = reference.assign(
            anchors.boxes, anchors.level_counts, box[None], np.zeros(1, int), np.ones(1), CLASSES
        )
        found[(one[0] != CLASSES) & (assigned_weights == 0)] = 1
    return found


def ignored(boxes, weights, assigned_weights, anchors=ANCHORS):
    """`targets.ignored` of one image as NumPy."""
    arguments = [np.float32(x)[None] for x in (boxes, weights, assigned_weights)]
    return keras.ops.convert_to_numpy(targets.ignored(anchors, *arguments))[0]


@pytest.mark.parametrize("seed", range(6))
def test_ignored_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    boxes = random_objects(rng, 8, least=16.0)
    weights = np.float32([-1, -0.3, 1, 0.5, 0, -1, 1, -0.7])
    own = assigned(boxes, rng.integers(0, CLASSES, 8), weights)["weights"]
    found = ignored(boxes, weights, own)
    np.testing.assert_array_equal(found, ignored_by_loops(ANCHORS, boxes, weights, own))
    assert 0 < found.sum() < len(found)
    assert not found[own > 0].any()


def test_ignored_by_hand():
    # The left 28 of 64 px. Of the anchors of 32 px with centres 4, 12, ... 60 px from the left the
    # image shows 0..20, 0..28, 4..36, 12..44 and so on: all, all, 24/32 and exactly 16/32 of them
    # lie inside, then 8/32 and less. Of those of 64 px (centres 8, 24, ...), 0..40, 0..56 and less:
    # 28/40 and exactly 28/56. Of those of 128 px the image shows itself: 28/64.
    found = ignored([[0, 0, 64, 28]], [-1.0], np.zeros(len(ANCHORS)))
    fine, middle, coarse = np.split(found, np.cumsum(ANCHORS.level_counts)[:-1])
    assert fine.reshape(8, 8).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 8
    assert middle.reshape(4, 4).tolist() == [[1, 1, 0, 0]] * 4
    assert not coarse.any()
    assert ignored([[0, 0, 64, 64]], [-0.1], np.zeros(len(ANCHORS))).all()
    assert not ignored([[0, 0, 64, 64]], [1.0], np.zeros(len(ANCHORS))).any()


@pytest.mark.parametrize("box", [[20, 20, 26, 26], [3, 3, 5, 60], [30, 31, 31, 32]])
def test_a_small_ignored_area_is_where_its_object_would_be(box):
    """6x6 px are 4 % of an anchor of 32 px: a share of a half is reached nowhere."""
    would_be = assigned([box], [1], [1.0])["weights"] > 0
    found = ignored([box], [-1.0], np.zeros(len(ANCHORS)))
    np.testing.assert_array_equal(found > 0, would_be)
    assert would_be.any()


def test_no_location_answers_for_an_ignored_area_and_objects_in_it_stay():
    objects = [[16, 16, 48, 48], [2, 30, 20, 60]]
    plain = assigned(objects, [1, 2], [1.0, 1.0])
    # Of the very same place as an object, and of all of the image.
    beside = assigned([*objects, objects[0], [0, 0, 64, 64]], [1, 2, 0, 0], [1.0, 1.0, -1.0, -1.0])
    for name in plain:
        np.testing.assert_array_equal(beside[name], plain[name])
    found = ignored([[0, 0, 64, 64]], [-1.0], plain["weights"])
    np.testing.assert_array_equal(found, plain["weights"] == 0)


@pytest.mark.parametrize("seed", range(6))
def test_several_anchors_share_a_location(seed):
    rng = np.random.default_rng(seed)
    sides = (1.0, 0.5, 2.0)
    middle = [np.split(ANCHORS.centers_and_sizes(), [64, 80])[i] for i in range(3)]
    rows = [np.concatenate([m * np.float32([1, 1, s, 1]) for s in sides]) for m in middle]
    flat = np.concatenate(rows)
    boxes = np.concatenate([flat[:, :2] - flat[:, 2:] / 2, flat[:, :2] + flat[:, 2:] / 2], axis=1)
    anchors = Anchors.from_boxes(boxes, 64, (192, 48, 12))
    count = int(rng.integers(1, 7))
    objects = random_objects(rng, count)
    labels, weights = rng.integers(0, CLASSES, count), np.ones(count, "float32")
    found = assigned(objects, labels, weights, anchors)
    expected = reference.assign(anchors.boxes, anchors.level_counts, objects, labels, weights, CLASSES)
    for name, values in zip(("labels", "boxes", "weights"), expected, strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_more_anchors_at_a_location_leave_an_object_its_nine_locations():
    """A second anchor of every location that fits nothing changes nothing for the first."""
    plain = assigned([14, 14, 50, 50], [1], [1.0])
    # 1 px high and as wide as the image.
    thin = ANCHORS.centers_and_sizes() * np.float32([1, 1, 0, 0]) + np.float32([0, 0, 1, 64])
    boxes = np.concatenate([thin[:, :2] - thin[:, 2:] / 2, thin[:, :2] + thin[:, 2:] / 2], axis=1)
    both = np.stack([ANCHORS.boxes, boxes], axis=1).reshape(-1, 4)
    doubled = Anchors.from_boxes(both, 64, tuple(2 * c for c in ANCHORS.level_counts))
    found = assigned([14, 14, 50, 50], [1], [1.0], doubled)
    positive = np.flatnonzero(plain["labels"] == 1)
    assert set(positive) <= set(np.flatnonzero(found["labels"][::2] == 1))
