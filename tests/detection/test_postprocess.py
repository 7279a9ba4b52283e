"""Post-processing against a slow reference, and values worked by hand."""

import math

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.boxes import decode
from mkd_tf.detection.postprocess import (
    Detections,
    PostprocessConfig,
    batch_detections,
    probabilities,
    select,
)


def overlap(a, b):
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def select_by_loops(scores, boxes, config):
    """Suppresses each class on its own, then keeps the best of all, as the exported op does."""
    found = []
    for label in range(scores.shape[1]):
        order = sorted(range(len(boxes)), key=lambda i: -scores[i, label])
        kept = []
        for i in order:
            if scores[i, label] < config.score_threshold or len(kept) == config.max_detections:
                break
            if all(overlap(boxes[i], boxes[j]) <= config.iou_threshold for j in kept):
                kept.append(i)
        found += [(float(scores[i, label]), label, i) for i in kept]
    found.sort(key=lambda row: -row[0])
    return found[: config.max_detections]


@pytest.mark.parametrize("limit", [5, 100])
@pytest.mark.parametrize("seed", range(4))
def test_select_agrees_with_the_slow_reference(seed, limit):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-0.1, 0.8, (80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (80, 2))], axis=1)
    # Rounded, so that many scores tie.
    scores = np.round(rng.uniform(size=(80, 3)), 1)
    config = PostprocessConfig(score_threshold=0.25, iou_threshold=0.4, max_detections=limit)
    result, expected = select(scores, boxes, config), select_by_loops(scores, boxes, config)
    assert len(expected) > 4
    np.testing.assert_allclose(result.scores, [score for score, _, _ in expected], rtol=1e-6)
    assert result.labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(result.boxes, np.clip([boxes[i] for _, _, i in expected], 0, 1), rtol=1e-6)


# IoU of the first two: 0.5 * 0.4 / (0.5 * 0.6) = 2/3.
NEAR = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.1, 0.5, 0.6], [0.5, 0.5, 0.9, 0.9]])


def test_suppression_worked_by_hand():
    scores = np.array([[0.7], [0.9], [0.3]])
    strict = select(scores, NEAR, PostprocessConfig(iou_threshold=0.66))
    assert strict.scores.tolist() == pytest.approx([0.9, 0.3])
    lenient = select(scores, NEAR, PostprocessConfig(iou_threshold=0.67))
    assert lenient.scores.tolist() == pytest.approx([0.9, 0.7, 0.3])
    assert select(scores, NEAR, PostprocessConfig(max_detections=1)).boxes.tolist() == [
        pytest.approx([0, 0.1, 0.5, 0.6])
    ]


def test_classes_do_not_suppress_each_other():
    result = select(np.array([[0.7, 0.8], [0.9, 0.1], [0.0, 0.0]]), NEAR)
    assert list(zip(result.labels.tolist(), result.scores.round(4).tolist(), strict=True)) == [
        (0, pytest.approx(0.9)),
        (1, pytest.approx(0.8)),
    ]


def test_of_equal_scores_the_lower_label_then_the_lower_anchor_comes_first():
    apart = np.array([[0.0, 0.0, 0.2, 0.2], [0.3, 0.3, 0.5, 0.5], [0.6, 0.6, 0.8, 0.8]])
    result = select(np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.9]]), apart)
    assert result.labels.tolist() == [1, 0, 0, 0, 1, 1]
    assert result.boxes[:, 0].tolist() == pytest.approx([0.6, 0.0, 0.3, 0.6, 0.0, 0.3])


def test_boxes_are_clipped_after_suppression():
    boxes = np.array([[-0.5, 0.0, 0.5, 1.5], [-2.0, 0.0, 0.5, 1.5]])
    result = select(np.array([[0.9], [0.8]]), boxes)
    # Clipped first they would be one box; outside of the image they differ (IoU 0.4).
    np.testing.assert_allclose(result.boxes, [[0, 0, 0.5, 1]] * 2)


def test_nothing_above_the_threshold_is_an_empty_result():
    for scores in (np.zeros((3, 2)), np.full((3, 2), np.nan)):
        result = select(scores, NEAR)
        assert (len(result), result.boxes.shape, result.labels.dtype) == (0, (0, 4), np.int32)
    assert len(select(np.zeros((0, 2)), np.zeros((0, 4)))) == 0


def test_detections_worked_by_hand():
    # One anchor in the middle, 0.2 wide; ty = 10 moves by one height, th = 5 ln 2 doubles it.
    anchors = np.array([[0.5, 0.5, 0.2, 0.2]])
    encodings = np.array([[[10.0, 0, 5 * math.log(2), 0]]])
    (result,) = batch_detections(np.array([[[math.log(3), -9]]]), encodings, anchors)
    np.testing.assert_allclose(result.boxes, [[0.5, 0.4, 0.9, 0.6]], atol=1e-6)
    assert (result.scores.tolist(), result.labels.tolist()) == ([0.75], [0])


def test_a_batch_is_its_images_one_by_one():
    rng = np.random.default_rng(0)
    anchors = grid_anchors(64)
    fractions = anchors.centers_and_sizes() / 64
    logits, encodings = rng.normal(-3, 2, (3, len(anchors), 2)), rng.normal(0, 2, (3, len(anchors), 4))
    together = batch_detections(logits, encodings, fractions)
    for i, one in enumerate(together):
        (alone,) = batch_detections(logits[i : i + 1], encodings[i : i + 1], fractions)
        np.testing.assert_allclose(one.boxes, alone.boxes, atol=1e-6)
        np.testing.assert_array_equal(one.scores, alone.scores)
    assert batch_detections(logits[:0], encodings[:0], fractions) == []


def test_extreme_logits_give_finite_scores():
    np.testing.assert_allclose(probabilities(np.array([-1e9, 0.0, 1e9], "float32")), [0, 0.5, 1], atol=1e-20)


def test_wrong_shapes_are_told():
    with pytest.raises(MkdError, match="class_logits"):
        batch_detections(np.zeros((1, 3, 2)), np.zeros((1, 4, 4)), np.zeros((4, 4)))
    with pytest.raises(MkdError, match="box_encodings"):
        batch_detections(np.zeros((1, 4, 2)), np.zeros((1, 3, 4)), np.zeros((4, 4)))


def test_above_keeps_equal_scores():
    found = Detections(NEAR.astype("float32"), np.array([0.9, 0.5, 0.3], "float32"), np.arange(3))
    assert found.above(0.5).labels.tolist() == [0, 1]


def cases(classes, count, seed):
    """Logits, encodings and anchors of two images: crowded, with ties, above and below the threshold."""
    rng = np.random.default_rng(seed)
    anchors = rng.uniform(0.1, 0.9, (count, 4)).astype("float32")
    logits = np.round(rng.normal(-2, 2, (2, count, classes)), 1).astype("float32")
    # Some that are as good as certain: their scores are equal where logits are not.
    logits[:, ::7] += 30
    return logits, rng.normal(0, 2, (2, count, 4)).astype("float32"), anchors


@pytest.mark.parametrize(
    ("classes", "count", "limit"),
    [(1, 5, 100), (3, 300, 100), (3, 300, 1000), (40, 120, 100), (40, 120, 5000)],
)
def test_pruning_and_chunks_change_nothing(classes, count, limit):
    # More than one chunk, more than the few that are sorted first, and fewer than are wanted.
    logits, encodings, anchors = cases(classes, count, seed=classes)
    config = PostprocessConfig(max_detections=limit)
    boxes = keras.ops.convert_to_numpy(decode(encodings, anchors))
    for i, found in enumerate(batch_detections(logits, encodings, anchors, config)):
        scores = probabilities(logits[i])
        expected = select_by_rows(scores, boxes[i], config)
        for result in (found, select(scores, boxes[i], config)):
            assert result.labels.tolist() == [label for _, label, _ in expected]
            np.testing.assert_array_equal(result.scores, np.float32([score for score, _, _ in expected]))
            rows = [row for _, _, row in expected]
            np.testing.assert_allclose(result.boxes, boxes[i][rows].clip(0, 1), atol=1e-6)


def select_by_rows(scores, boxes, config):
    """Candidate by candidate: each removes what it suppresses from its class."""
    alive = np.greater_equal(scores.T, config.score_threshold)
    order = sorted(zip(*np.nonzero(alive), strict=True), key=lambda c: (-scores[c[1], c[0]], *c))
    areas, found = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), []
    for label, row in order:
        if alive[label, row] and len(found) < config.max_detections:
            found.append((scores[row, label], label, row))
            low, high = np.maximum(boxes[:, :2], boxes[row, :2]), np.minimum(boxes[:, 2:], boxes[row, 2:])
            common = np.prod(np.maximum(high - low, 0), axis=1)
            alive[label] &= common / (areas + areas[row] - common) <= config.iou_threshold
    return found


def test_boxes_that_are_not_numbers_are_kept_once():
    boxes = np.concatenate([np.full((2, 4), np.nan), NEAR])
    with np.errstate(invalid="ignore"):
        found = select(np.array([[0.9], [0.8], [0.7], [0.6], [0.5]]), boxes)
    assert found.scores.tolist() == pytest.approx([0.9])
