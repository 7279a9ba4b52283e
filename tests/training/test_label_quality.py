"""The teacher's labels against the truth, by hand."""

import numpy as np
import pytest

from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.training.label_quality import label_quality

ANCHORS = grid_anchors(64)
NOTHING = (np.zeros((0, 4), "float32"), np.zeros(0, "int32"), np.zeros(0, "float32"))
LEFT, RIGHT = (0.25, 0.1, 0.75, 0.4), (0.25, 0.6, 0.75, 0.9)


def row(*boxes):
    """Boxes of (corners, label, weight)."""
    corners, labels, weights = zip(*boxes, strict=True)
    return np.float32(corners), np.int32(labels), np.float32(weights)


def test_weight_of_the_right_class_at_true_objects():
    # Two objects of the same size on a symmetric grid have the same number of locations.
    truth = [row((LEFT, 0, 1.0), (RIGHT, 1, 1.0))]
    labels = [row((LEFT, 0, 0.6), (RIGHT, 0, 0.2))]
    quality = label_quality(ANCHORS, truth, labels, 2)
    assert quality["class_right"] == pytest.approx(0.6 / 0.8)
    assert (quality["images"], quality["boxes_per_image"], quality["covered"]) == (1, 2.0, 1.0)


def test_boxes_where_nothing_is_do_not_count_and_missing_ones_do():
    truth = [row((LEFT, 0, 1.0), (RIGHT, 1, 1.0)), NOTHING]
    labels = [row((LEFT, 0, 0.5)), row((RIGHT, 1, 0.9))]
    quality = label_quality(ANCHORS, truth, labels, 2)
    assert quality["class_right"] == pytest.approx(1.0)
    assert quality["covered"] == pytest.approx(0.5)


def test_nothing_to_compare():
    quality = label_quality(ANCHORS, [NOTHING], [NOTHING], 2)
    assert quality == {"images": 1, "boxes_per_image": 0.0, "class_right": None, "covered": None}
