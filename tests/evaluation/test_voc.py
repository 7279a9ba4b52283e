"""VOC AP: worked by hand, and against a slow reference written here from the development kit."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.evaluation.coco import coco_metrics
from mkd_tf.evaluation.voc import overlaps, voc_metrics
from tests.evaluation.test_coco import SIDE, A, B, C, found, overlap, truth

D = [300, 300, 350, 350]


def ap(images, detections, classes=1):
    """Area and 11-point AP."""
    result = voc_metrics(images, detections, [f"class {i}" for i in range(classes)])
    return result["VOC_AP"], result["VOC07_AP"]


def test_value_worked_by_hand():
    # Hit, miss, hit on two objects: precision 1 up to recall 0.5, then 2/3 up to recall 1.
    # 11 points: 0, 0.1, ... 0.5 are six with precision 1, five with 2/3.
    found_here = found([A, C, B], [0.9, 0.8, 0.7], [0, 0, 0])
    area, points = ap([truth([A, B], [0, 0])], [found_here])
    assert area == pytest.approx(100 * (0.5 * 1 + 0.5 * 2 / 3))
    assert points == pytest.approx(100 * (6 * 1 + 5 * 2 / 3) / 11)


def test_recall_that_ends_early():
    # One of three found: recall 1/3. Points 0 to 0.3 have precision 1, the others 0.
    area, points = ap([truth([A, B, C], [0, 0, 0])], [found([A], [0.9], [0])])
    assert (area, points) == (pytest.approx(100 / 3), pytest.approx(100 * 4 / 11))


def test_recall_of_exactly_a_tenth_counts_at_that_point():
    # 3 of 10: 0.3 is no binary number, and 3 / 10 >= 0.3 must hold all the same.
    boxes = [[10 * i, 0, 10 * i + 9, 9] for i in range(10)]
    area, points = ap([truth(boxes, [0] * 10)], [found(boxes[:3], [0.9, 0.8, 0.7], [0] * 3)])
    assert (area, points) == (pytest.approx(30), pytest.approx(100 * 4 / 11))


def test_a_second_detection_of_an_object_is_false():
    area, _ = ap([truth([A, B], [0, 0])], [found([A, A, B], [0.9, 0.8, 0.7], [0, 0, 0])])
    assert area == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


def test_the_object_it_overlaps_most_is_its_own_even_if_taken():
    # The second one overlaps B by half as well, but A more: false here, a hit in COCO's matching.
    a, b = [0, 0, 100, 100], [40, 0, 140, 100]
    images = [truth([a, b], [0, 0])]
    detections = [found([a, [19, 0, 119, 100]], [0.9, 0.8], [0, 0])]
    assert overlap([19, 0, 119, 100], b) > 0.5
    assert ap(images, detections)[0] == pytest.approx(50)
    assert coco_metrics(images, detections, ["x"])["AP50"] > 90


@pytest.mark.parametrize(("width", "expected"), [(50, 100), (49.9, 0)])
def test_half_is_enough(width, expected):
    area, _ = ap([truth([[0, 0, 100, 100]], [0])], [found([[0, 0, width, 100]], [0.5], [0])])
    assert area == pytest.approx(expected)


def test_difficult_objects_are_neither_missed_nor_hit():
    images = [truth([A, B], [0, 0], difficult=[1])]
    for boxes, scores in (([A], [0.9]), ([B, A], [0.9, 0.8]), ([B, B, B, A], [0.9, 0.8, 0.7, 0.6])):
        assert ap(images, [found(boxes, scores, [0] * len(boxes))]) == (pytest.approx(100),) * 2
    assert ap([truth([B], [0], difficult=[0])], [found([B], [0.9], [0])]) == (None, None)


def test_crowds_forgive_what_would_be_false():
    crowd = [90, 90, 400, 400]
    images = [truth([A, B, crowd], [0, 0, 0], crowd=[2])]
    # C and D lie in the crowd, the second B too; the first B is a hit all the same.
    boxes = [C, D, B, B, A]
    assert ap(images, [found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0] * 5)])[0] == pytest.approx(100)
    other_class = [truth([A, B, crowd], [0, 0, 1], crowd=[2])]
    assert ap(other_class, [found([C, A, B], [0.9, 0.8, 0.7], [0] * 3)], 2)[0] == pytest.approx(100 * 2 / 3)


def test_an_object_in_a_crowd_is_hit_even_if_the_crowd_fits_better():
    person, crowd = [0, 0, 60, 100], [0, 0, 90, 100]
    images = [truth([crowd, person], [0, 0], crowd=[0])]
    assert ap(images, [found([[0, 0, 80, 100]], [0.9], [0])]) == (pytest.approx(100),) * 2
    assert ap([truth([crowd], [0], crowd=[0])], [found([crowd], [0.9], [0])]) == (None, None)
    missed = [truth([crowd, A], [0, 0], crowd=[0]), truth([B], [0])]
    assert ap(missed, [found([crowd], [0.9], [0]), found([B], [0.8], [0])])[0] == pytest.approx(50)


def test_overlaps_by_hand():
    # 20 x 20 in 100 x 100; 10 of its 20 columns in 40 x 40, 200 of 400 + 1600 - 200; apart from the last.
    boxes = [[0, 0, 100, 100], [0, 10, 40, 50], [50, 50, 60, 60]]
    ious, shares = overlaps(np.array([[0, 0, 20, 20]], float), np.array(boxes, float))
    np.testing.assert_allclose(ious, [[0.04, 200 / 1800, 0]])
    np.testing.assert_allclose(shares, [[1, 0.5, 0]])


def test_classes_and_images_are_apart():
    images = [truth([A], [0]), truth([B], [1])]
    swapped = [found([A], [0.9], [1]), found([B], [0.8], [0])]
    assert ap(images, swapped, 3) == (0, 0)
    right = [found([A], [0.9], [0]), found([B], [0.8], [1])]
    # The third class has no object, and no part in the mean.
    assert ap(images, right, 3) == (pytest.approx(100),) * 2
    other_image = [found([B], [0.9], [1]), found([A], [0.8], [0])]
    assert ap(images, other_image, 3) == (0, 0)


def test_nothing_found_is_zero_and_nothing_to_find_is_none():
    nothing = found([], [], [])
    assert ap([truth([A], [0])], [nothing]) == (0, 0)
    assert ap([truth([], [])], [found([A], [0.9], [0])]) == (None, None)


def test_mistakes_are_told():
    with pytest.raises(MkdError, match="each of the 1 images"):
        ap([truth([A], [0])], [])
    with pytest.raises(MkdError, match="at least one image"):
        ap([], [])


def by_loops(images, detections, label):
    """`VOCevaldet.m` of one class, line by line, with both averages."""
    rows = []
    for number, d in enumerate(detections):
        for score, box, this in zip(d.scores, d.boxes, d.labels, strict=True):
            if this == label:
                rows.append((score, number, box * SIDE))
    rows.sort(key=lambda row: -row[0])
    taken = [[False] * len(t.labels) for t in images]
    outcomes = []
    for _, number, box in rows:
        t, best, jmax = images[number], -np.inf, None
        for j in range(len(t.labels)):
            if t.labels[j] == label and overlap(box, t.boxes[j]) > best:
                best, jmax = overlap(box, t.boxes[j]), j
        if best < 0.5:
            outcomes.append((0, 1))
        elif t.is_difficult[jmax]:
            outcomes.append((0, 0))
        else:
            outcomes.append((0, 1) if taken[number][jmax] else (1, 0))
            taken[number][jmax] = True
    count = sum(int(np.sum((t.labels == label) & ~t.is_difficult)) for t in images)
    points, tp, fp = [], 0, 0
    for hit, false in outcomes:
        tp, fp = tp + hit, fp + false
        points.append((tp / count, tp / (tp + fp) if tp + fp else 0.0))

    def best_at(recall):
        return max((p for r, p in points if r >= recall - 1e-12), default=0.0)

    recalls = sorted({0.0, *(r for r, _ in points)})
    area = sum((high - low) * best_at(high) for low, high in zip(recalls, recalls[1:], strict=False))
    return area, sum(best_at(k / 10) for k in range(11)) / 11


@pytest.mark.parametrize("seed", range(8))
def test_both_agree_with_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for _ in range(6):
        count = int(rng.integers(1, 6))
        corner = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(20, 100, (count, 2))], axis=1)
        labels = rng.integers(0, 2, count)
        images.append(truth(boxes, labels, difficult=np.flatnonzero(rng.uniform(size=count) < 0.25)))
        near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 9, (3 * count, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        wrong = rng.uniform(size=3 * count) < 0.2
        guessed = np.where(wrong, 1 - np.repeat(labels, 3), np.repeat(labels, 3))
        detections.append(found(near, rng.uniform(0.05, 1, 3 * count), guessed))
    expected = 100 * np.mean([by_loops(images, detections, label) for label in (0, 1)], axis=0)
    assert 5 < expected[0] < 99
    assert ap(images, detections, 2) == pytest.approx(tuple(expected), abs=1e-9)
