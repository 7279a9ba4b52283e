"""COCO AP: worked by hand, and against a slow reference written here from the protocol."""

import dataclasses

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import element
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics

SIDE = 400


def truth(boxes, labels, difficult=(), crowd=(), name="image"):
    """Boxes yxyx px in an image of SIDE px; `difficult` and `crowd` list positions."""
    flags = np.arange(len(labels))
    return Truth(
        name,
        SIDE,
        SIDE,
        np.array(boxes, "float64").reshape(-1, 4),
        np.array(labels, "int32"),
        np.isin(flags, difficult),
        np.isin(flags, crowd),
    )


def found(boxes, scores, labels):
    return Detections(
        np.array(boxes, "float32").reshape(-1, 4) / SIDE,
        np.array(scores, "float32"),
        np.array(labels, "int32"),
    )


A, B, C = [0, 0, 50, 50], [100, 100, 150, 150], [200, 200, 250, 250]


def test_value_worked_by_hand():
    # Hit, miss, hit on two objects: precision 1 up to recall 0.5 (51 of 101 points), then 2/3.
    result = coco_metrics([truth([A, B], [0, 0])], [found([A, C, B], [0.9, 0.8, 0.7], [0, 0, 0])], ["cell"])
    expected = 100 * (51 + 50 * 2 / 3) / 101
    for metric in ("AP", "AP50", "AP75", "AP_medium"):
        assert result[metric] == pytest.approx(expected)
    assert result["per_class"] == {"cell": pytest.approx(expected)}
    assert result["AP_small"] is None and result["AP_large"] is None


def test_thresholds_of_overlap():
    # IoU 0.72: right at 0.50, 0.55, 0.60, 0.65, 0.70, five of the ten.
    result = coco_metrics([truth([[0, 0, 100, 100]], [0])], [found([[0, 0, 72, 100]], [0.5], [0])], ["cell"])
    assert (result["AP"], result["AP50"], result["AP75"]) == (pytest.approx(50), pytest.approx(100), 0)


def test_sizes_are_those_of_the_original_image():
    boxes = [[0, 0, 30, 30], [100, 100, 190, 190], [200, 200, 300, 300]]
    result = coco_metrics([truth(boxes, [0, 0, 0])], [found(boxes[1:], [0.9, 0.8], [0, 0])], ["cell"])
    assert (result["AP_small"], result["AP_medium"], result["AP_large"]) == (0, 100, 100)


def test_a_known_area_of_the_segment_decides_the_size():
    box = [0, 0, 40, 40]  # 1600 square pixels are medium; a thin thing in it is small
    for areas, metric in ((None, "AP_medium"), ([np.nan], "AP_medium"), ([1000.0], "AP_small")):
        made = dataclasses.replace(truth([box], [0]), areas=None if areas is None else np.array(areas))
        result = coco_metrics([made], [found([box], [0.9], [0])], ["cell"])
        assert {m: result[m] for m in ("AP_small", "AP_medium")} == {
            "AP_small": None,
            "AP_medium": None,
        } | {metric: pytest.approx(100)}
    ignored = dataclasses.replace(truth([box], [0], difficult=[0]), areas=np.array([1000.0]))
    assert coco_metrics([ignored], [found([box], [0.9], [0])], ["cell"])["AP"] is None


def test_an_image_without_objects_counts():
    images = [truth([A], [0]), truth([], [])]
    first = found([A], [0.5], [0])
    alone = coco_metrics(images, [first, found([], [], [])], ["cell"])
    false = coco_metrics(images, [first, found([B], [0.9], [0])], ["cell"])
    assert (alone["AP"], false["AP"]) == (pytest.approx(100), pytest.approx(50))


def test_nothing_found_is_zero_and_nothing_to_find_is_none():
    nothing = found([], [], [])
    assert coco_metrics([truth([A], [0])], [nothing], ["cell"])["AP"] == 0
    result = coco_metrics([truth([], [])], [found([A], [0.9], [0])], ["cell"])
    assert result["AP"] is None and result["per_class"] == {"cell": None}


def test_a_class_without_objects_stays_out_of_the_mean():
    result = coco_metrics([truth([A], [1])], [found([A, B], [0.9, 0.8], [1, 0])], ["absent", "present"])
    assert result["AP"] == pytest.approx(100)
    assert result["per_class"] == {"absent": None, "present": pytest.approx(100)}


def test_crowds_forgive_every_detection_inside():
    images = [truth([A, [100, 100, 300, 300]], [0, 0], crowd=[1])]
    detections = [found([B, C, A], [0.9, 0.8, 0.7], [0, 0, 0])]
    assert coco_metrics(images, detections, ["cell"])["AP"] == pytest.approx(100)
    assert coco_metrics([truth([A], [0])], detections, ["cell"])["AP"] == pytest.approx(100 / 3)


def test_difficult_objects_are_ignored():
    images = [truth([A, B], [0, 0], difficult=[1])]

    def ap(*args):
        return coco_metrics(images, [found(*args)], ["cell"])["AP"]

    assert ap([A], [0.9], [0]) == pytest.approx(100)
    assert ap([B, A], [0.9, 0.8], [0, 0]) == pytest.approx(100)
    # Only one detection is forgiven, and only on the object: unlike a crowd.
    assert ap([B, B, A], [0.9, 0.8, 0.7], [0, 0, 0]) == pytest.approx(50)


def test_mistakes_are_told():
    with pytest.raises(MkdError, match="each of the 1 images"):
        coco_metrics([truth([A], [0])], [], ["cell"])
    with pytest.raises(MkdError, match="at least one image"):
        coco_metrics([], [], ["cell"])
    with pytest.raises(MkdError, match="truth of left labels: expected 0 to 0"):
        coco_metrics([truth([A], [1], name="left")], [found([], [], [])], ["cell"])
    with pytest.raises(MkdError, match="detections of image labels"):
        coco_metrics([truth([A], [0])], [found([A], [0.9], [2])], ["cell", "other"])


def test_it_is_silent(capfd):
    coco_metrics([truth([A], [0])], [found([A], [0.9], [0])], ["cell"])
    assert capfd.readouterr() == ("", "")


def test_truth_of_an_element():
    image = np.zeros((300, 700, 3), "uint8")
    box = np.array([[10 / 300, 20 / 700, 42 / 300, 52 / 700]], "float32")
    whole = element(image, "a", box, np.array([2]), is_crowd=np.array([True]), area=np.float32([7]))
    made = Truth.of(whole)
    without = Truth.of({key: value for key, value in whole.items() if key != "image"})
    assert (without.height, without.width, without.areas.tolist()) == (300, 700, [7])
    assert (made.image_id, made.height, made.width) == ("a", 300, 700)
    # Exact pixels in spite of float32 fractions: 32 px square is on the border of small.
    assert made.boxes.tolist() == [[10, 20, 42, 52]]
    assert made.labels.tolist() == [2] and made.is_crowd.all() and not made.is_difficult.any()


def overlap(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union


def ap50_by_loops(images, detections, label):
    """One class at IoU 0.5: match greedily by score within images, interpolate at 101 recalls."""
    hits = []
    for t, d in zip(images, detections, strict=True):
        free = [box for box, this in zip(t.boxes, t.labels, strict=True) if this == label]
        rows = sorted(zip(d.scores, d.boxes * SIDE, d.labels, strict=True), key=lambda row: -row[0])
        for score, box, this in rows:
            if this != label:
                continue
            best = max(free, key=lambda other: overlap(box, other), default=None)
            hit = best is not None and overlap(box, best) >= 0.5
            if hit:
                free = [other for other in free if other is not best]
            hits.append((score, hit))
    objects = sum(int(np.sum(t.labels == label)) for t in images)
    points, right = [], 0
    for rank, (_, hit) in enumerate(sorted(hits, key=lambda row: -row[0]), start=1):
        right += hit
        points.append((right / objects, right / rank))
    total = 0.0
    for recall in np.linspace(0, 1, 101):
        total += max((p for r, p in points if r >= recall), default=0.0)
    return 100 * total / 101


@pytest.mark.parametrize("seed", range(8))
def test_ap50_agrees_with_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for _ in range(6):
        count = int(rng.integers(1, 6))
        corner = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(20, 100, (count, 2))], axis=1)
        labels = rng.integers(0, 2, count)
        images.append(truth(boxes, labels))
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 12, (2 * count, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        wrong = rng.uniform(size=2 * count) < 0.2
        guessed = np.where(wrong, 1 - np.repeat(labels, 2), np.repeat(labels, 2))
        detections.append(found(near, rng.uniform(0.05, 1, 2 * count), guessed))
    expected = [ap50_by_loops(images, detections, label) for label in (0, 1)]
    assert coco_metrics(images, detections, ["a", "b"])["AP50"] == pytest.approx(np.mean(expected), abs=1e-6)
