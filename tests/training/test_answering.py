"""Answers: asked once per image, kept whole or not at all, and the same labels as the network itself."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors import build_detector
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.teachers import ClassMap, OutputsTeacher, build_teacher, map_classes
from mkd_tf.training.answering import Answer, Answering, places_of
from mkd_tf.training.teacher_boxes import detect, row_of, with_teacher_boxes
from tests.training.coco_predictions import write_predictions

NAMES = ("a", "b", "c")
COUNT = 70  # three groups


def split(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    box = np.float32([[0.1, 0.2, 0.5, 0.6]])
    images = rng.integers(0, 255, (count, 24, 32, 3), "uint8")
    return [element(images[i], f"{i}.png", box, np.int32([i % 3]), is_labelled=i < 4) for i in range(count)]


class Counting(OutputsTeacher):
    """Answers with one box per image, but for every fifth; counts the images that it is asked about."""

    name, class_names = "counting", ("b", "truck", "car", "other")

    def __init__(self, needs_pixels=True, fails_after=10**9):
        self.needs_pixels, self.asked, self._fails_after = needs_pixels, [], fails_after

    def fingerprint(self):
        return "one"

    def detect(self, images):
        self.asked += [image.id for image in images]
        if len(self.asked) > self._fails_after:
            raise KeyboardInterrupt
        return [None if int(image.file_name[:-4]) % 5 == 0 else self.answer() for image in images]

    @staticmethod
    def answer():
        boxes = np.float32([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.52], [0.5, 0.5, 1, 1], [0, 0, 0.1, 0.1]])
        return Detections(boxes, np.float32([0.9, 0.8, 0.7, 0.6]), np.int32([1, 2, 0, 3]))


def answering(tmp_path, teacher=None, explicit=None):
    teacher = teacher or Counting()
    explicit = explicit or {"car": "c", "truck": "c"}
    return Answering(teacher, map_classes(teacher.class_names, NAMES, explicit), tmp_path / "teacher")


def test_images_are_asked_about_once_in_classes_of_the_data_set(tmp_path):
    made = answering(tmp_path)
    progress = []
    first = made.about([split(40), split(30, 1)], lambda done, of: progress.append((done, of)))
    assert progress == [(32, 70), (64, 70), (70, 70)]
    assert [a.found is None for a in first[:6]] == [True, False, False, False, False, True]
    # Car and truck on one place became one class; the other class is dropped.
    found = first[1].found
    assert found.labels.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    assert first[1].height_width == (24, 32)
    asked = len(made.teacher.asked)
    again = answering(tmp_path).about([split(40), split(30, 1)])
    assert asked == 70
    for a, b in zip(first, again, strict=True):
        assert (a.found is None) == (b.found is None)
        if a.found is not None:
            np.testing.assert_array_equal(a.found.boxes, b.found.boxes)
            np.testing.assert_array_equal(a.found.scores, b.found.scores)


def test_what_a_kill_left_is_used(tmp_path):
    killed = answering(tmp_path, Counting(fails_after=40))
    with pytest.raises(KeyboardInterrupt):
        killed.about([split()])
    resumed = answering(tmp_path)
    assert len(resumed.about([split()])) == COUNT
    assert resumed.teacher.asked == [f"{i}.png" for i in range(32, COUNT)]


def test_a_damaged_file_is_asked_for_again(tmp_path):
    first = answering(tmp_path).about([split()])
    path = sorted((tmp_path / "teacher" / "answers").glob("*.npz"))[0]
    whole = path.read_bytes()
    for damaged in (whole[:100], whole.replace(b"rows", b"rowz")):
        path.write_bytes(damaged)
        again = answering(tmp_path)
        found = again.about([split()])
        assert 0 < len(again.teacher.asked) <= 32
        assert [a.found is None for a in found] == [a.found is None for a in first]
    assert path.read_bytes() == whole


def test_answers_belong_to_pixels_teacher_and_class_map(tmp_path):
    answering(tmp_path).about([split()])
    images = split()
    images[40]["image"] = images[40]["image"] + np.uint8(1)
    changed = answering(tmp_path)
    changed.about([images])
    assert changed.teacher.asked == [f"{i}.png" for i in range(32, 64)]
    other = answering(tmp_path, explicit={"car": "a", "truck": "a"})
    other.about([split()])
    assert len(other.teacher.asked) == COUNT
    other.claim()
    answering(tmp_path, explicit={"car": "a", "truck": "a"}).claim()
    with pytest.raises(MkdError, match="the files of the teacher counting have changed since it was begun"):
        answering(tmp_path).claim()


def test_a_teacher_without_pixels_decodes_none(tmp_path):
    made = answering(tmp_path, Counting(needs_pixels=False))
    images = split()
    first = made.about([images])
    images[40]["image"] = images[40]["image"] + np.uint8(1)
    again = answering(tmp_path, Counting(needs_pixels=False))
    assert len(again.about([images])) == len(first)
    assert again.teacher.asked == []


def test_boxes_follow_the_fit():
    found = Detections(np.float32([[0, 0.5, 1, 1]]), np.float32([0.5]), np.int32([1]))
    answer = Answer(found, (24, 32))
    np.testing.assert_allclose(answer.row("stretch")[0], [[0, 0.5, 1, 1]])
    np.testing.assert_allclose(answer.row("letterbox")[0], [[0, 0.5, 0.75, 1]])
    assert Answer(None, (24, 32)).row("stretch") is None


def test_soft_targets_are_of_certain_detections():
    found = Detections(
        np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]), np.float32([0.5, 0.06]), np.int32([1, 2])
    )
    answers = [Answer(found, (24, 32)), Answer(None, (24, 32))]
    assert places_of(answers, "stretch", 3, 0.05).boxes.weights.tolist() == [
        [0.5, pytest.approx(0.06)],
        [0, 0],
    ]
    for least in (0.1, 1.0):
        assert places_of(answers, "stretch", 3, least).boxes.weights.tolist() == [[0.5], [0]]


@pytest.fixture(scope="module")
def network():
    """A detector of random weights whose scores are spread over 0..1."""
    keras.utils.set_random_seed(4)
    made = build_detector("tiny(widths=(8, 8, 8, 8), pyramid=8)", image_size=64, class_names=NAMES)
    rng = np.random.default_rng(0)
    for variable in made.core.trainable_variables:
        if variable.path.endswith("bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    for variable in made.core.trainable_variables[-4:]:
        variable.assign(np.array(variable) * 3)
    return made


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_a_file_of_a_networks_detections_gives_its_labels(network, tmp_path, fit):
    """The file as `mkd predict` writes it, from the originals; the labels as a training makes them."""
    images = split(12)
    store = ImageStore([images], 96, fit, 1.0)  # The student's input is larger than the teacher's.
    everything, runner = np.arange(12), KerasRunner(network)
    own = {i: row_of(d) for i, d in enumerate(detect(store, everything, runner, lambda done, of: None))}
    found = EvaluationSet([e | {"is_labelled": True} for e in images], 64, fit).detections(runner)
    assert sum((row[2] >= 0.1).sum() for row in own.values()) > 12, "a comparison of nothing"
    teacher = build_teacher(write_predictions(tmp_path, images, found, NAMES))
    index: ClassMap = map_classes(teacher.class_names, NAMES)
    answers = Answering(teacher, index, tmp_path / "teacher").about([images])
    rows = {i: answer.row(fit) for i, answer in enumerate(answers)}
    unlabelled = everything[4:]
    for most_iou in (0.6, 1.0):
        expected, given = (with_teacher_boxes(store, unlabelled, r, 0.1, most_iou) for r in (own, rows))
        np.testing.assert_array_equal(given.labels, expected.labels)
        np.testing.assert_array_equal(given.known, expected.known)
        np.testing.assert_allclose(given.weights, expected.weights, atol=1e-6)
        np.testing.assert_allclose(given.boxes, expected.boxes, atol=1e-5)
    places = [places_of(a, fit, 3, 0.1) for a in (answers, [Answer(d, (24, 32)) for d in found])]
    np.testing.assert_allclose(places[0].profiles, places[1].profiles, atol=1e-5)
    np.testing.assert_allclose(places[0].boxes.boxes, places[1].boxes.boxes, atol=1e-5)


def test_an_image_without_an_answer_is_unknown():
    images = split(8)
    store = ImageStore([images], 64, "stretch", 1.0)
    rows = {5: (np.float32([[0, 0, 0.5, 0.5]]), np.int32([1]), np.float32([0.5]))}
    found = with_teacher_boxes(store, np.arange(4, 8), rows, 0.1)
    assert found.known.tolist() == [1, 1, 1, 1, 0, 1, 0, 0]
    assert found.weights[4:].sum() == 0.5


def test_each_class_can_have_a_threshold_of_its_own():
    images = split(6)
    store = ImageStore([images], 64, "stretch", 1.0)
    boxes = np.float32([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]])
    rows = {5: (boxes, np.int32([0, 1, 2]), np.float32([0.4, 0.4, 1.0]))}
    found = with_teacher_boxes(store, np.array([5]), rows, np.float32([0.3, 0.5, 1.0]))
    assert found.weights[5].tolist() == [np.float32(0.4)]
    assert found.labels[5].tolist() == [0]
    assert found.known[5] == 1
