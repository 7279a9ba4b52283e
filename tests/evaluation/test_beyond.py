"""Objects beyond the teacher: worked by hand, and against a slow reference."""

import json

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.beyond import beyond
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.finding import found as find
from tests import reference

HEIGHT, WIDTH = 200, 400
A, B, C, D = [0, 0, 50, 50], [100, 100, 150, 150], [0, 200, 50, 250], [100, 300, 150, 350]


def truth(boxes, labels, difficult=(), crowd=()):
    """Boxes yxyx px; `difficult` and `crowd` list positions."""
    flags = np.arange(len(labels))
    return Truth(
        "image",
        HEIGHT,
        WIDTH,
        np.array(boxes, "float64").reshape(-1, 4),
        np.array(labels, "int64"),
        np.isin(flags, difficult),
        np.isin(flags, crowd),
    )


def found(boxes, scores, labels):
    return Detections(
        (np.array(boxes, "float64").reshape(-1, 4) / [HEIGHT, WIDTH, HEIGHT, WIDTH]).astype("float32"),
        np.array(scores, "float32"),
        np.array(labels, "int32"),
    )


NOTHING = found([], [], [])


def found_objects(one, detections, score, iou):
    return find([detections], [one], threshold=score, iou=iou).objects


def counts(result):
    return tuple(result[k] for k in ("both", "student_only", "teacher_only", "neither"))


def test_an_image_by_hand():
    images = [truth([A, B, C, D], [0, 0, 1, 1]), truth([A], [0]), truth([], [])]
    student = [found([A, B], [0.9, 0.8], [0, 0]), NOTHING, found([A], [0.9], [1])]
    teacher = [found([A, C, D], [0.9, 0.8, 0.7], [0, 1, 0]), found([A], [0.4], [0]), NOTHING]
    result = beyond(images, student, teacher, ["x", "y"], 0.3, 0.3)
    # D has the wrong class.
    assert counts(result) == (1, 1, 2, 1)
    assert result["objects"] == 5
    assert counts(result["per_class"]["x"]) == (1, 1, 1, 0)
    assert counts(result["per_class"]["y"]) == (0, 0, 1, 1)
    assert (result["score"], result["teacher_score"], result["iou"]) == (0.3, 0.3, 0.5)
    assert json.loads(json.dumps(result)) == result


def test_each_network_has_a_threshold_of_its_own():
    images, sure, unsure = [truth([A], [0])], [found([A], [0.5], [0])], [found([A], [0.49], [0])]
    assert counts(beyond(images, sure, unsure, ["x"], 0.5, 0.5)) == (0, 1, 0, 0)
    assert counts(beyond(images, unsure, sure, ["x"], 0.5, 0.5)) == (0, 0, 1, 0)
    assert counts(beyond(images, unsure, sure, ["x"], 0.4, 0.5)) == (1, 0, 0, 0)
    assert counts(beyond(images, sure, unsure, ["x"], 0.5, 0.4)) == (1, 0, 0, 0)


def test_equal_counts_and_equal_precision_by_hand():
    far = [0, 350, 40, 390]
    images = [truth([A, B, C, D], [0] * 4)]
    # The teacher shows three, of which two are right: A and C.
    teacher = [found([A, far, C, D], [0.9, 0.8, 0.7, 0.2], [0] * 4)]
    # The student finds B, D and A, in this order, and is never confident.
    student = [found([B, far, D, far, A, far], [0.29, 0.28, 0.27, 0.26, 0.25, 0.24], [0] * 6)]
    result = beyond(images, student, teacher, ["x"], 0.27, 0.5)
    assert counts(result) == (0, 2, 2, 0)
    # As many detections as the teacher: three of the student's find B and D.
    count = result["equal_count"]
    assert (count["detections"], count["found"], counts(count)) == (3, 2, (0, 2, 2, 0))
    assert count["precision"] == pytest.approx(2 / 3) and count["threshold"] == pytest.approx(0.27)
    # The teacher's precision is 2/3: the student's is so with three, 1/2 with four, 3/5 with five.
    assert result["equal_precision"] == count
    # With a right detection more in the end it has that precision with six.
    longer = [found([B, far, D, far, A, C], [0.29, 0.28, 0.27, 0.26, 0.25, 0.24], [0] * 6)]
    precise = beyond(images, longer, teacher, ["x"], 0.27, 0.5)["equal_precision"]
    assert (precise["detections"], precise["found"], counts(precise)) == (6, 4, (2, 2, 0, 0))


def test_a_teacher_that_shows_nothing_has_no_precision():
    result = beyond([truth([A], [0])], [found([A], [0.9], [0])], [NOTHING], ["x"], 0.5, 0.5)
    assert counts(result) == (0, 1, 0, 0)
    nothing = {"found": 0, "threshold": None, "detections": 0, "precision": None}
    for key in ("equal_count", "equal_precision"):
        assert counts(result[key]) == (0, 0, 0, 1) and nothing.items() <= result[key].items()


def test_the_threshold_of_the_overlap():
    # 36 of 50 rows: an IoU of 0.72.
    one, part = truth([A], [0]), found([[0, 0, 36, 50]], [0.9], [0])
    assert [found_objects(one, part, 0.3, iou)[0] for iou in (0.5, 0.7, 0.75)] == [True, True, False]


def test_an_object_is_taken_once_and_a_detection_takes_one():
    near = [0, 10, 50, 60]
    both = truth([A, near], [0, 0])
    # A finds A; the second, also nearest to A, has the IoU 2/3 with `near` and takes it.
    assert found_objects(both, found([A, A], [0.9, 0.8], [0, 0]), 0.3, 0.5).tolist() == [True, True]
    assert found_objects(both, found([A], [0.9], [0]), 0.3, 0.5).tolist() == [True, False]
    # The better score chooses first, even if the other is left with nothing.
    part = [0, 0, 50, 30]
    assert found_objects(both, found([part, A], [0.8, 0.9], [0, 0]), 0.3, 0.5).tolist() == [True, False]
    assert found_objects(both, found([part, A], [0.9, 0.8], [0, 0]), 0.3, 0.5).tolist() == [True, True]
    # Here it takes `near`, and leaves A.
    detections = found([[0, 9, 50, 59], [0, 12, 50, 62]], [0.8, 0.9], [0, 0])
    assert found_objects(both, detections, 0.3, 0.5).tolist() == [True, True]
    assert found_objects(both, detections, 0.85, 0.5).tolist() == [False, True]
    assert found_objects(both, detections, 0.3, 0.7).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_difficult_objects_and_crowds_do_not_count(kind):
    # The ignored object lies nearer to the detection than the one that counts.
    images = [truth([A, [0, 5, 50, 55]], [0, 0], **{kind: [0]})]
    result = beyond(images, [found([A], [0.9], [0])], [NOTHING], ["x"], 0.3, 0.3)
    assert (counts(result), result["objects"]) == ((0, 1, 0, 0), 1)


def by_loops(t, d, score, iou):
    """One image: walk the detections from the best, each takes its best free object."""
    scale = np.array([HEIGHT, WIDTH, HEIGHT, WIDTH])
    free = [i for i in range(len(t.labels)) if not (t.is_difficult[i] or t.is_crowd[i])]
    taken = []
    for s, box, label in sorted(zip(d.scores, d.boxes, d.labels, strict=True), key=lambda row: -row[0]):
        near = [(reference.iou(box * scale, t.boxes[i]), i) for i in free if t.labels[i] == label]
        overlap, best = max(near, default=(0.0, -1))
        if s >= score and overlap >= iou:
            free.remove(best)
            taken.append(best)
    return {i for i in range(len(t.labels)) if i in taken}


@pytest.mark.parametrize("seed", range(6))
def test_against_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    images, lists = [], ([], [])
    for _ in range(5):
        count = int(rng.integers(0, 9))
        # Crowded: objects overlap each other.
        corner = rng.uniform(0, 100, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(30, 60, (count, 2))], axis=1)
        labels = rng.integers(0, 2, count)
        images.append(truth(boxes, labels, difficult=np.flatnonzero(rng.uniform(size=count) < 0.2)))
        for held in lists:
            near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 6, (2 * count, 4))
            guessed = np.where(rng.uniform(size=2 * count) < 0.2, 1, np.repeat(labels, 2))
            held.append(found(near, rng.uniform(0, 1, 2 * count), guessed))
    expected = [0, 0, 0, 0]
    for t, s, d in zip(images, *lists, strict=True):
        ours, theirs = by_loops(t, s, 0.25, 0.6), by_loops(t, d, 0.25, 0.6)
        objects = set(np.flatnonzero(~t.is_difficult).tolist())
        groups = (ours & theirs, ours - theirs, theirs - ours, objects - ours - theirs)
        expected = [n + len(group) for n, group in zip(expected, groups, strict=True)]
    result = beyond(images, *lists, ["x", "y"], 0.25, 0.25, iou=0.6)
    assert counts(result) == tuple(expected)
    per_class = [counts(r) for r in result["per_class"].values()]
    assert tuple(np.sum(per_class, axis=0)) == tuple(expected)


def test_mistakes_are_told():
    with pytest.raises(MkdError, match="detections of the teacher: expected one .* 1 images, got 0"):
        beyond([truth([], [])], [NOTHING], [], ["x"], 0.3, 0.3)
    with pytest.raises(MkdError, match="labels of the truth: expected 0 to 0.* got 0 to 1"):
        beyond([truth([A, B], [0, 1])], [NOTHING], [NOTHING], ["x"], 0.3, 0.3)
    with pytest.raises(MkdError, match="iou: expected a number above 0"):
        beyond([], [], [], ["x"], 0.3, 0.3, iou=0.0)
    with pytest.raises(MkdError, match="score: expected a number from 0 to 1"):
        beyond([], [], [], ["x"], 30, 0.3)
    with pytest.raises(MkdError, match="teacher_score: expected a number from 0 to 1"):
        beyond([], [], [], ["x"], 0.3, 30)


def test_no_images_are_no_objects():
    assert beyond([], [], [], ["x"], 0.3, 0.3)["objects"] == 0
