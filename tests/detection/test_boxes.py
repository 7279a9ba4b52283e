"""Geometry of boxes against values worked by hand and the slow reference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection import boxes
from mkd_tf.detection.anchors import grid_anchors
from tests import reference

# a, b, IoU, GIoU; all worked by hand.
PAIRS = {
    "identical": ([0, 0, 2, 2], [0, 0, 2, 2], 1.0, 1.0),
    # Areas 16 and 4, the smaller inside: the hull is the larger one.
    "nested": ([0, 0, 4, 4], [1, 1, 3, 3], 4 / 16, 4 / 16),
    # Two unit squares, one unit apart: hull 3, union 2.
    "disjoint": ([0, 0, 1, 1], [0, 2, 1, 3], 0.0, -1 / 3),
    # They share an edge and nothing else: the hull is their union.
    "touching": ([0, 0, 1, 1], [0, 1, 1, 2], 0.0, 0.0),
    # Squares of side 2, shifted by (1, 1): common 1, union 7, hull 9.
    "corner": ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),
    # An inverted box has no area: union 4, hull 4.
    "inverted": ([2, 2, 0, 0], [0, 0, 2, 2], 0.0, 0.0),
    "upside down": ([2, 0, 0, 2], [0, 0, 2, 2], 0.0, 0.0),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("unit", [1.0, 0.01, 1000.0])
def test_overlaps_by_hand(pair, unit):
    a, b, iou, giou = PAIRS[pair]
    a, b = (np.array(box, "float32") * unit for box in (a, b))
    for first, second in ((a, b), (b, a)):
        assert float(boxes.iou(first, second)) == pytest.approx(iou, abs=1e-5)
        assert float(boxes.giou(first, second)) == pytest.approx(giou, abs=1e-5)


def some_boxes(rng, *shape):
    corners = rng.uniform(0, 100, (*shape, 2, 2))
    return np.concatenate([corners.min(-2), corners.max(-2)], axis=-1).astype("float32")


def test_overlaps_against_the_reference():
    rng = np.random.default_rng(0)
    a, b = some_boxes(rng, 200), some_boxes(rng, 200)
    np.testing.assert_allclose(
        boxes.iou(a, b), [reference.iou(*p) for p in zip(a, b, strict=True)], atol=1e-5
    )
    np.testing.assert_allclose(
        boxes.giou(a, b), [reference.giou(*p) for p in zip(a, b, strict=True)], atol=1e-5
    )
    np.testing.assert_allclose(boxes.area(a), [reference.area(box) for box in a], rtol=1e-5)


def test_pairwise_overlaps_are_all_against_all():
    rng = np.random.default_rng(1)
    a, b = some_boxes(rng, 2, 3), some_boxes(rng, 2, 5)
    found = keras.ops.convert_to_numpy(boxes.pairwise_iou(a, b))
    expected = [[[reference.iou(p, q) for q in b[i]] for p in a[i]] for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_gradient_pulls_disjoint_boxes_together():
    box, goal = tf.Variable([[0.0, 0.0, 1.0, 1.0]]), tf.constant([[0.2, 3.0, 1.3, 4.0]])
    with tf.GradientTape() as tape:
        far = boxes.giou(box, goal)
    box.assign_add(0.1 * tape.gradient(far, box))
    assert float(boxes.giou(box, goal)[0]) > float(far[0])
    assert box.numpy()[0, 3] > 1, "the right edge must move to the right"


def test_one_encoding_by_hand():
    # The anchor: centre (10, 20), 4 high, 8 wide. ty = 5 moves by half its height,
    # tx = -10 by a whole width; th = 5 ln 2 doubles, tw = -5 ln 2 halves.
    anchor = np.array([[10, 20, 4, 8]], "float32")
    encoding = np.array([[[5, -10, 5 * np.log(2), -5 * np.log(2)]]], "float32")
    np.testing.assert_allclose(boxes.decode(encoding, anchor), [[[8, 10, 16, 14]]], rtol=1e-5)


def test_decode_against_the_reference_and_encode_its_inverse():
    rng = np.random.default_rng(2)
    anchors = grid_anchors(64).centers_and_sizes()
    # Sides of 3 px and more: decoding stops at 1/55 of an anchor, here 128 px.
    truth = some_boxes(rng, 2, len(anchors)) + np.array([0, 0, 3, 3], "float32")
    encodings = boxes.encode(truth, anchors)
    np.testing.assert_allclose(boxes.decode(encodings, anchors), truth, atol=1e-3)
    random = rng.normal(0, 5, (2, len(anchors), 4)).astype("float32")
    decoded = keras.ops.convert_to_numpy(boxes.decode(random, anchors))
    expected = [[reference.decode(*p) for p in zip(example, anchors, strict=True)] for example in random]
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(boxes.encode(decoded, anchors), random, atol=1e-2)


@pytest.mark.parametrize("value", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_extreme_encodings_stay_finite_with_their_gradients(value):
    anchors = grid_anchors(64).centers_and_sizes()
    encodings = tf.Variable(tf.fill((1, len(anchors), 4), value))
    with tf.GradientTape() as tape:
        decoded = boxes.decode(encodings, anchors)
        overlap = boxes.giou(decoded, tf.constant([0.0, 0.0, 10.0, 10.0]))
    assert np.isfinite(decoded).all()
    assert np.isfinite(overlap).all()
    assert np.isfinite(tape.gradient(overlap, encodings)).all()
    assert (decoded[..., 2:] > decoded[..., :2]).numpy().all() or abs(value) == 1e4


def test_boxes_of_no_size_give_no_nan():
    point = tf.Variable([[3.0, 3.0, 3.0, 3.0]])
    with tf.GradientTape() as tape:
        overlap = boxes.giou(point, point.read_value())
    assert np.isfinite(overlap).all()
    assert np.isfinite(tape.gradient(overlap, point)).all()
    assert float(boxes.iou(point, point)[0]) == 0
