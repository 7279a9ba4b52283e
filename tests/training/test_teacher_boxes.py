"""A teacher's boxes: found once, kept in a file, used where there are no labels."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.detection.postprocess import Detections
from mkd_tf.training.teacher_boxes import detect, distinct, read_rows, with_teacher_boxes, write_rows

BOX = np.float32([[0.1, 0.2, 0.5, 0.6]])
COUNT = 40


class ByBrightness:
    """A runner that finds as many boxes as the image's brightness says, in fractions of it."""

    image_size, class_names = 16, ("a", "b", "c")

    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        found = []
        for image in images:
            value = int(round(float(image[8, 8, 0])))
            count = value % 3
            boxes = np.tile(np.float32([[0.1, 0.1, 0.4, 0.5]]), (count, 1))
            scores = np.float32([0.9, 0.05][:count]) - value / 1000
            found.append(Detections(boxes, scores, np.full(count, value % 2, "int32")))
        return found


@pytest.fixture(scope="module")
def store():
    """Forty plain images of brightness 2 i; the first ten are labelled with class 2."""
    split = [
        element(
            np.full((20, 20, 3), 2 * i, "uint8"),
            f"{i}",
            BOX[: i < 10],
            np.int32([2])[: i < 10],
            is_labelled=i < 10,
        )
        for i in range(COUNT)
    ]
    return ImageStore([split], 32, "stretch", 1.0)


def test_every_image_is_looked_at_in_order(store):
    runner, reports = ByBrightness(), []
    indices = np.arange(COUNT)[::-1]
    found = detect(store, indices, runner, lambda done, total: reports.append((done, total)))
    assert runner.shapes == [(32, 16, 16, 3), (8, 16, 16, 3)]
    assert reports == [(32, 40), (40, 40)]
    assert [len(f) for f in found] == [2 * i % 3 for i in indices]


def test_a_file_keeps_the_boxes(store, tmp_path):
    indices = np.arange(10, COUNT)
    found = detect(store, indices, ByBrightness(), lambda done, total: None)
    write_rows(tmp_path / "boxes.npz", indices, found)
    rows = read_rows(tmp_path / "boxes.npz")
    assert list(rows) == indices.tolist()
    for i, detections in zip(indices, found, strict=True):
        boxes, labels, weights = rows[i]
        np.testing.assert_array_equal(boxes, detections.boxes)
        np.testing.assert_array_equal(labels, detections.labels)
        np.testing.assert_array_equal(weights, detections.scores)
        assert labels.dtype == np.int32


def rows_of(**scores):
    """Rows by image: one box of class 1 for each score."""
    return {
        int(name[1:]): (np.tile(BOX / 2, (len(s), 1)), np.ones(len(s), "int32"), np.float32(s))
        for name, s in scores.items()
    }


def test_boxes_replace_the_truth_where_there_is_none(store):
    rows = rows_of(_9=[0.8], _10=[0.9, 0.3, 0.29], _11=[], _12=[0.1])
    found = with_teacher_boxes(store, np.array([9, 10, 11, 12]), rows, 0.3)
    assert found.weights[8].tolist() == [1, 0]
    assert found.labels[8, 0] == 2
    # Image 9 has labels that the student may not use.
    assert found.weights[9].tolist() == [np.float32(0.8), 0]
    np.testing.assert_allclose(found.boxes[9, 0], BOX[0] / 2)
    assert found.weights[10].tolist() == [np.float32(0.9), np.float32(0.3)]
    assert found.labels[10].tolist() == [1, 1]
    assert found.weights[11:13].sum() == 0
    assert found.known[:13].all(), "a teacher that finds nothing has looked all the same"


def test_a_least_score_of_one_leaves_them_unknown(store):
    rows = rows_of(_10=[0.99], _11=[1.0])
    found = with_teacher_boxes(store, np.array([10, 11]), rows, 1.0)
    assert found.known.tolist() == [float(i not in (10, 11)) for i in range(COUNT)]
    assert found.weights[10:12].sum() == 0, "an image of which nothing is known has no boxes"
    assert found.weights[:10, 0].tolist() == [1] * 10


def test_crowds_stay_where_the_truth_does():
    box = np.concatenate([BOX, BOX / 2])
    crowd = [
        element(
            np.zeros((16, 16, 3), "uint8"), f"{i}", box, np.int32([0, 1]), is_crowd=np.array([False, True])
        )
        for i in range(2)
    ]
    found = with_teacher_boxes(ImageStore([crowd], 16, "stretch", 1.0), np.array([1]), rows_of(_1=[0.9]), 0.3)
    assert found.weights.tolist() == [[1, -1], [np.float32(0.9), 0]]


def test_of_boxes_of_any_class_that_overlap_the_best_stays():
    # IoU of the first two is 0.6, of the first and third 0.
    boxes = np.float32([[0, 0, 0.5, 0.4], [0, 0, 0.3, 0.4], [0.5, 0.5, 1, 1], [0, 0, 0.5, 0.4]])
    weights = np.float32([0.5, 0.9, 0.2, 0.4])
    assert distinct(boxes, weights, 0.5).tolist() == [1, 2]
    assert distinct(boxes, weights, 0.7).tolist() == [1, 0, 2]
    assert distinct(boxes, weights, 1.0).tolist() == [0, 1, 2, 3]
    assert distinct(boxes[:0], weights[:0], 0.5).tolist() == []


def test_a_damaged_file_is_told_whatever_bit_is_wrong(tmp_path):
    path = tmp_path / "boxes.npz"
    found = [Detections(BOX, np.float32([0.5]), np.int32([1]))] * 3
    write_rows(path, np.array([4, 7, 9]), found)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 8 * len(whole), 60):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            rows = read_rows(path)
        except MkdError as error:
            assert "damaged boxes of the teacher" in str(error)
        else:  # A bit of the archive's dates and the like.
            assert list(rows) == [4, 7, 9] and rows[7][2] == 0.5
    for content in (b"", b"no zip", whole[:100]):
        path.write_bytes(content)
        with pytest.raises(MkdError, match="damaged boxes of the teacher"):
            read_rows(path)
