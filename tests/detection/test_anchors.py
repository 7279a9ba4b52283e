"""Anchors: one square per cell, rows first, level by level."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import Anchors, grid_anchors


def test_anchors_by_hand():
    # 64 px: grids of 8, 4 and 2 cells; an anchor's side is four strides.
    anchors = grid_anchors(64)
    assert anchors.level_counts == (64, 16, 4)
    assert (len(anchors), anchors.image_size, anchors.boxes.dtype) == (84, 64, np.float32)
    np.testing.assert_array_equal(anchors.boxes[0], [4 - 16, 4 - 16, 4 + 16, 4 + 16])
    np.testing.assert_array_equal(anchors.boxes[1], [4 - 16, 12 - 16, 4 + 16, 12 + 16])
    np.testing.assert_array_equal(anchors.centers_and_sizes()[8], [12, 4, 32, 32])
    np.testing.assert_array_equal(anchors.centers_and_sizes()[64], [8, 8, 64, 64])
    np.testing.assert_array_equal(anchors.centers_and_sizes()[-1], [48, 48, 128, 128])


def test_scale_and_strides_are_free():
    anchors = grid_anchors(32, strides=(16, 32), scale=2.0)
    np.testing.assert_array_equal(anchors.centers_and_sizes()[:, 2], [32, 32, 32, 32, 64])
    np.testing.assert_array_equal(anchors.normalized()[-1], [-0.5, -0.5, 1.5, 1.5])


@pytest.mark.parametrize(("size", "hint"), [(100, "96"), (0, "32"), (-64, "32"), (16, "32")])
def test_a_size_that_no_grid_fits_is_told(size, hint):
    with pytest.raises(
        MkdError, match=f"image_size: expected a positive multiple of 32 px, got {size}.*{hint}"
    ):
        grid_anchors(size)


def test_counts_that_do_not_add_up_are_told():
    with pytest.raises(MkdError, match=r"anchors.boxes: expected shape \[5, 4\], got shape \[4, 4\]"):
        Anchors(np.zeros((4, 4), "float32"), (4, 1), 64)


def test_any_boxes_can_be_anchors():
    boxes = [[0, 0, 8, 8], [-4, 2, 12, 6], [0, 0, 32, 32]]
    anchors = Anchors.from_boxes(boxes, 32, level_counts=[2, 1])
    assert (len(anchors), anchors.level_counts, anchors.image_size) == (3, (2, 1), 32)
    assert anchors.boxes.dtype == np.float32
    np.testing.assert_array_equal(anchors.centers_and_sizes()[1], [4, 4, 16, 4])
    assert Anchors.from_boxes(boxes, 32).level_counts == (3,)


@pytest.mark.parametrize(
    ("boxes", "counts", "message"),
    [
        ([[0, 0, 8]], None, r"anchors.boxes: expected shape \[None, 4\], got shape \[1, 3\]"),
        (
            [[0, 0, 8, 8], [4, 4, 4, 8]],
            None,
            r"anchors.boxes\[1\]: expected finite .* got \[4.0, 4.0, 4.0, 8.0\]",
        ),
        ([[0, 0, np.inf, 8]], None, r"anchors.boxes\[0\]: expected finite"),
        ([[0, 0, 8, 8]], (2,), r"anchors.level_counts: expected positive numbers .* 1 boxes, got \(2,\)"),
        ([[0, 0, 8, 8]], (1, 0), r"anchors.level_counts: .* got \(1, 0\)"),
    ],
)
def test_boxes_that_cannot_be_anchors_are_told(boxes, counts, message):
    with pytest.raises(MkdError, match=message):
        Anchors.from_boxes(boxes, 32, counts)


def test_anchors_that_share_a_centre_are_counted_level_by_level():
    assert grid_anchors(64).per_location == (1, 1, 1)
    fine, coarse = grid_anchors(64, (8,)).boxes, grid_anchors(64, (32,)).boxes
    wide = coarse + np.float32([8, -8, -8, 8])
    boxes = np.concatenate([fine, coarse, wide, wide[:1]])
    assert Anchors.from_boxes(boxes, 64, (64, 9)).per_location == (1, 3), "2, 2, 2 and 3 anchors"
