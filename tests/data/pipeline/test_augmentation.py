"""Boxes follow their images exactly; draws are a function of their keys."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.config import FLIPS, AugmentationConfig
from mkd_tf.data.pipeline.augmentation import (
    DRAWS,
    FILL,
    augment,
    crop_boxes,
    draw,
    move_boxes,
    placement,
    recolor,
    warp,
)

CANVAS, SIZE = 80, 64
STILL = AugmentationConfig(
    flips="none", scale_min=1.0, scale_max=1.0, aspect=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)
NO_FLIP = (1.0, 1.0)  # Draws that leave an image as it is; below 1/2 they mirror it.


def one(scale=(1.0, 1.0), shift=(0.0, 0.0), flip=(0.0, 0.0)):
    return tuple(tf.constant([v], tf.float32) for v in (scale, shift, flip))


def rectangle(box, side=CANVAS):
    """A white rectangle on black, `box` as fractions of the image."""
    y0, x0, y1, x1 = (round(v * side) for v in box)
    image = np.zeros((side, side, 3), "uint8")
    image[y0:y1, x0:x1] = 255
    return image


def bounds(image):
    """Where a rectangle is at least half as bright as white, in pixels: yxyx."""
    bright = image[..., 0] > 129  # The fill is half as bright.
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("zoom", [0.55, 1.0, 1.3])
def test_boxes_follow_exactly(flips, zoom):
    config = dataclasses.replace(STILL, flips=flips, scale_min=zoom, scale_max=zoom, aspect=0.3)
    rng = np.random.default_rng(0)
    low = rng.integers(4, 44, (24, 2)) / CANVAS
    boxes = np.concatenate([low, low + rng.integers(12, 32, (24, 2)) / CANVAS], axis=1).astype("float32")
    originals = np.stack([rectangle(box) for box in boxes])
    draws = tf.constant(rng.uniform(0, 1, (24, DRAWS)), tf.float32)
    weights = np.full((24, 1), 0.5, "float32")
    images, moved = augment(originals, boxes[:, None], draws, config, SIZE)
    moved, kept = crop_boxes(moved, weights, 0, SIZE)
    assert images.shape == (24, SIZE, SIZE, 3)
    assert (kept.numpy() > 0).sum() > 15
    for image, box, weight in zip(images.numpy(), moved.numpy()[:, 0], kept.numpy()[:, 0], strict=True):
        assert weight in (0, 0.5)
        if weight:
            np.testing.assert_allclose(bounds(image), box, atol=1)


def test_flips_are_what_they_are_called():
    image = rectangle((0.1, 0.2, 0.3, 0.5))
    expected = {
        "none": (0.1, 0.2, 0.3, 0.5),
        "horizontal": (0.1, 0.5, 0.3, 0.8),
        "both": (0.7, 0.5, 0.9, 0.8),
        "half_turn": (0.7, 0.5, 0.9, 0.8),
    }
    heads = tf.constant(np.full((1, DRAWS), 0.1), tf.float32)
    for flips, box in expected.items():
        config = dataclasses.replace(STILL, flips=flips)
        found, moved = augment(image[None], np.float32([[[0.1, 0.2, 0.3, 0.5]]]), heads, config, CANVAS)
        np.testing.assert_allclose(moved[0, 0], np.float32(box) * CANVAS, rtol=1e-5)
        np.testing.assert_array_equal(found[0], rectangle(box))


def test_both_flips_are_independent_and_a_half_turn_is_not():
    draws = draw(tf.constant([[0, i] for i in range(200)], tf.int64))
    for flips, kinds in (("none", 1), ("horizontal", 2), ("both", 4), ("half_turn", 2)):
        flip = placement(draws, dataclasses.replace(STILL, flips=flips))[2].numpy()
        found, counts = np.unique(flip, axis=0, return_counts=True)
        assert len(found) == kinds
        assert counts.min() > 200 / kinds / 2
        if flips == "horizontal":
            assert (flip[:, 0] == 0).all()
        if flips == "half_turn":
            assert (flip[:, 0] == flip[:, 1]).all()


def test_placements_stay_within_the_configuration():
    config = dataclasses.replace(STILL, scale_min=0.5, scale_max=2.0, aspect=0.2)
    scale, shift, _ = (p.numpy() for p in placement(draw(tf.constant([[1, i] for i in range(300)])), config))
    zoom, aspect = np.sqrt(scale.prod(axis=1)), np.log(scale[:, 0] / scale[:, 1])
    assert 0.5 <= zoom.min() < 0.55
    assert 1.8 < zoom.max() <= 2.0001
    assert -0.2001 <= aspect.min() < -0.17
    assert 0.17 < aspect.max() <= 0.2001
    # The image lies within the output, or covers it.
    assert (np.minimum(shift, shift + scale - 1) <= 1e-6).all() or (shift >= 0).any()
    inside = scale <= 1
    assert (shift[inside] >= 0).all()
    assert ((shift + scale)[inside] <= 1 + 1e-6).all()
    assert (shift[~inside] <= 0).all()
    assert ((shift + scale)[~inside] >= 1 - 1e-6).all()


def test_the_identity_returns_the_image():
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), "uint8")
    box, weight = np.float32([[[0.25, 0.5, 0.5, 1.0]]]), np.float32([[0.7]])
    np.testing.assert_array_equal(warp(tf.cast(image, tf.float32), *one(), SIZE), image)
    images, boxes = augment(image, box, tf.ones((1, DRAWS)) * 0.7, STILL, SIZE)
    np.testing.assert_allclose(images, image, atol=1e-3)
    np.testing.assert_allclose(boxes, box * SIZE)
    for found, expected in zip(crop_boxes(boxes, weight, 0, SIZE), (box * SIZE, weight), strict=True):
        np.testing.assert_allclose(found, expected)


def test_a_mirrored_image_is_exact():
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype("float32")
    np.testing.assert_array_equal(warp(image, *one(flip=(0, 1)), SIZE), image[:, :, ::-1])
    np.testing.assert_array_equal(warp(image, *one(flip=(1, 0)), SIZE), image[:, ::-1])


def test_what_lies_outside_the_image_is_grey():
    white = np.full((1, SIZE, SIZE, 3), 255, "float32")
    half = warp(white, *one(scale=(0.5, 0.5), shift=(0.5, 0)), SIZE).numpy()[0]
    assert (half[34:, :30] == 255).all()
    assert (half[:30] == FILL).all()
    assert (half[:, 34:] == FILL).all()


# Boxes as fractions of an output of 100 px that shows the image at twice its size.
@pytest.mark.parametrize(
    ("box", "kept", "clipped"),
    [
        ((0.1, 0.1, 0.4, 0.4), True, (20, 20, 80, 80)),
        # 31 and 29 of every 100 parts of its height are in view.
        ((0.469, 0.1, 0.569, 0.4), True, (93.8, 20, 100, 80)),
        ((0.471, 0.1, 0.571, 0.4), False, (94.2, 20, 100, 80)),
        # Both sides cut: 0.6 * 0.6 is in view, then 0.5 * 0.5.
        ((0.44, 0.44, 0.54, 0.54), True, (88, 88, 100, 100)),
        ((0.45, 0.45, 0.55, 0.55), False, (90, 90, 100, 100)),
        # Two pixels and a little less.
        ((0.1, 0.1, 0.1101, 0.4), True, (20, 20, 22.02, 80)),
        ((0.1, 0.1, 0.1099, 0.4), False, (20, 20, 21.98, 80)),
        # Out of view.
        ((0.6, 0.6, 0.9, 0.9), False, (100, 100, 100, 100)),
        # Padding.
        ((0, 0, 0, 0), False, (0, 0, 0, 0)),
    ],
)
def test_a_box_hardly_in_view_loses_its_weight(box, kept, clipped):
    boxes, weights = np.float32([[box]]), np.float32([[0.8]])
    moved, weight = crop_boxes(move_boxes(boxes, *one(scale=(2, 2)), 100), weights, 0, 100)
    np.testing.assert_allclose(moved[0, 0], clipped, atol=1e-3)
    assert float(weight[0, 0]) == pytest.approx(0.8 if kept else 0)


def test_draws_follow_from_their_keys_alone():
    keys = tf.constant([[0, 5], [0, 6], [1, 5], [0, 5]], tf.int64)
    found = draw(keys).numpy()
    assert found.shape == (4, DRAWS)
    assert found.min() >= 0
    assert found.max() < 1
    np.testing.assert_array_equal(found[0], found[3])
    assert len(np.unique(found[:3])) == 3 * DRAWS
    np.testing.assert_array_equal(draw(keys[1:2])[0], found[1])


def test_colours_stay_in_range_and_do_change():
    config = dataclasses.replace(STILL, brightness=0.5, contrast=1.0, saturation=1.0)
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype("float32")
    found = recolor(images, draw(tf.constant([[0, i] for i in range(32)])), config).numpy()
    assert found.min() >= 0
    assert found.max() <= 255
    assert (np.abs(found - images).mean(axis=(1, 2, 3)) > 1).all()


@pytest.mark.parametrize(("name", "draw_index"), [("saturation", 6), ("brightness", 7), ("contrast", 8)])
def test_each_colour_change_by_hand(name, draw_index):
    # (60, 90, 150) and (80, 80, 80): their greys are 100 and 80; mid-grey is 127.5.
    image = np.float32([[[[60, 90, 150], [80, 80, 80]]]])
    draws = np.full((1, DRAWS), 0.5, "float32")
    draws[0, draw_index] = 1.0  # The largest change upwards.
    found = recolor(image, tf.constant(draws), dataclasses.replace(STILL, **{name: 0.5}))[0, 0]
    expected = {
        "saturation": [[40, 85, 175], [80, 80, 80]],
        "brightness": [[123.75, 153.75, 213.75], [143.75, 143.75, 143.75]],
        "contrast": [[26.25, 71.25, 161.25], [56.25, 56.25, 56.25]],
    }
    np.testing.assert_allclose(found, expected[name], atol=1e-3)


def test_any_part_of_an_ignored_area_stays_one():
    # A tenth of each is in view; of the last only a pixel.
    boxes = np.float32([[[-90, 0, 10, 50], [-90, 0, 10, 50], [-99, 0, 1, 50]]])
    seen, weights = crop_boxes(boxes, np.float32([[1.0, -0.5, -1.0]]), 0, SIZE)
    assert weights.numpy().tolist() == [[0, -0.5, 0]]
    np.testing.assert_array_equal(seen[0, 1], [0, 0, 10, 50])


def test_what_is_left_of_a_cut_object_can_be_unknown():
    # A tenth of the first is in view, a half of the second, a pixel of the third, nothing of the fourth.
    boxes = np.float32(
        [[[-90, 0, 10, 50], [-10, 0, 10, 50], [-99, 0, 1, 50], [-99, 0, -9, 50], [0, 0, 0, 0]]]
    )
    given = np.float32([[1.0, 0.7, 1.0, 1.0, 0.0]])
    assert crop_boxes(boxes, given, 0, SIZE)[1].numpy().tolist() == [[0, np.float32(0.7), 0, 0, 0]]
    cut = crop_boxes(boxes, given, 0, SIZE, cut_weight=-1.0)[1].numpy().tolist()
    assert cut == [[-1, np.float32(0.7), 0, 0, 0]]
