"""The Keras runner: the detector's own answer, no variable changed, traced once."""

import gc

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.image_files import fit_boxes
from mkd_tf.detection.postprocess import Detections, PostprocessConfig, batch_detections
from mkd_tf.detectors import Tiny
from mkd_tf.evaluation.runners import KerasRunner, on_original

SIDE = 64
ANYTHING = PostprocessConfig(score_threshold=0.0, max_detections=10)


@pytest.fixture(scope="module")
def detector():
    return Tiny(SIDE, ("a", "b"))


def random_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), "uint8")


def test_it_answers_as_the_detector_and_its_postprocess(detector):
    images = random_images(3)
    outputs = detector(images.astype("float32"), training=False)
    anchors = detector.anchors.centers_and_sizes() / SIDE
    runner = KerasRunner(detector, ANYTHING)
    assert (runner.image_size, runner.class_names) == (SIDE, ("a", "b"))
    for found, logits, encodings in zip(
        runner(images), outputs["class_logits"].numpy(), outputs["box_encodings"].numpy(), strict=True
    ):
        (expected,) = batch_detections(logits[None], encodings[None], anchors, ANYTHING)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        assert len(found) == 10


def test_bytes_and_floats_are_the_same_and_the_last_batch_may_be_smaller(detector, monkeypatch):
    runner, images = KerasRunner(detector, ANYTHING), random_images(5)
    # It is traced by now, and never again.
    monkeypatch.setattr(detector, "inference", None)
    monkeypatch.setattr(detector.core, "call", None)
    together = runner(images)
    again = KerasRunner(detector, ANYTHING)
    apart = again(images[:4].astype("float32")) + again(images[4:])
    assert len(together) == len(apart) == 5
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_it_changes_no_variable_and_sees_changed_weights(detector):
    runner, images = KerasRunner(detector, ANYTHING), random_images(4)
    before = [v.numpy().copy() for v in detector.variables]
    first = runner(images)[0].scores
    for variable, value in zip(detector.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    for variable in detector.variables:
        if variable.path.endswith("head_class/bias"):
            variable.assign(variable + 3.0)
    changed = runner(images)[0].scores
    detector.set_weights(before)
    assert changed[0] > first[0] + 0.05


def test_images_of_another_size_are_told(detector):
    with pytest.raises(
        MkdError, match=r"images: expected shape \[None, 64, 64, 3\], got shape \[1, 32, 32, 3\]"
    ):
        KerasRunner(detector)(np.zeros((1, 32, 32, 3), "uint8"))


def found_at(boxes):
    return Detections(np.array(boxes, "float32"), np.linspace(0.9, 0.5, len(boxes)), np.arange(len(boxes)))


def test_a_letterboxed_box_comes_back_to_the_original():
    # 100 high, 200 wide: the image takes the upper half of the square.
    back = on_original(found_at([[0.1, 0.2, 0.4, 0.6]]), (100, 200), "letterbox")
    np.testing.assert_allclose(back.boxes, [[0.2, 0.2, 0.8, 0.6]], atol=1e-6)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_fitting_there_and_back_changes_nothing(fit):
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]], "float32")
    there = fit_boxes(boxes, (375, 500), fit)
    np.testing.assert_allclose(on_original(found_at(there), (375, 500), fit).boxes, boxes, atol=1e-6)


def test_what_lies_in_the_padding_goes():
    back = on_original(found_at([[0.6, 0.1, 0.9, 0.3], [0.3, 0.1, 0.9, 0.3]]), (100, 200), "letterbox")
    np.testing.assert_allclose(back.boxes, [[0.6, 0.1, 1, 0.3]], atol=1e-6)
    assert back.labels.tolist() == [1] and back.scores.tolist() == [0.5]


def test_many_runners_are_no_retracing(detector, caplog):
    """TensorFlow warns when a function of the same source is traced by five calls in a row."""
    runners = [KerasRunner(detector, ANYTHING) for _ in range(7)]
    first = runners[0](random_images(1))[0].scores
    for runner in runners[1:]:
        np.testing.assert_array_equal(runner(random_images(1))[0].scores, first)
    assert "retracing" not in caplog.text


def test_a_runner_keeps_what_it_runs():
    runner = KerasRunner(Tiny(SIDE, ("a",)), ANYTHING)
    gc.collect()
    assert len(runner(random_images(1))[0]) == 10
