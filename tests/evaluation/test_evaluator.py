"""The evaluation set: decoded once or streamed, measured on the original's pixels."""

from collections.abc import Sequence

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import AnnotatedSplit, annotation, element
from mkd_tf.data.image_files import fit_boxes
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors import Tiny
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.runners import KerasRunner

CLASSES = ("dark", "bright")


class Split(Sequence):
    """Images 50 high and 100 wide with one object each; counts how often one is decoded."""

    def __init__(self, count, labelled=True):
        self.count, self.labelled, self.decoded = count, labelled, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.decoded += 1
        image = np.full((50, 100, 3), index, "uint8")
        box = np.array([[0.1, 0.2, 0.5, 0.3 + index / 100]])
        return element(image, f"{index}", box, np.array([index % 2]), is_labelled=self.labelled)


class Oracle:
    """Knows the object from the image's brightness, which is its index."""

    image_size = 32
    class_names = CLASSES

    def __init__(self, fit):
        self.fit, self.batches = fit, []

    def __call__(self, images):
        self.batches.append(len(images))
        found = []
        for image in images:
            index = int(image[0, 0, 0])
            box = np.array([[0.1, 0.2, 0.5, 0.3 + index / 100]], "float32")
            boxes = fit_boxes(box, (50, 100), self.fit)
            found.append(Detections(boxes, np.array([0.9], "float32"), np.array([index % 2], "int32")))
        return found


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_an_oracle_scores_full_marks_from_memory_or_streamed(fit, memory_bytes):
    split, oracle, seen = Split(7), Oracle(fit), []
    examples = EvaluationSet(split, 32, fit, memory_bytes=memory_bytes)
    assert split.decoded == 7
    result = examples.evaluate(oracle, CLASSES, batch_size=3, on_progress=lambda *a: seen.append(a))
    assert result["AP"] == pytest.approx(100)
    assert result["per_class"] == {name: pytest.approx(100) for name in CLASSES}
    assert (result["VOC_AP"], result["VOC07_AP"]) == (pytest.approx(100), pytest.approx(100))
    assert (oracle.batches, seen) == ([3, 3, 1], [(3, 7), (6, 7), (7, 7)])
    assert split.decoded == (7 if memory_bytes else 14)


class AnnotatedCopy(AnnotatedSplit):
    """The same images, whose boxes are known without decoding."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def image(self, index):
        return self.split[index]["image"]

    def annotation(self, index):
        box = np.array([[0.1, 0.2, 0.5, 0.3 + index / 100]])
        return annotation((50, 100), f"{index}", box, np.array([index % 2]))


def test_an_annotated_split_that_is_not_kept_is_decoded_batch_by_batch_only():
    counted = Split(7)
    examples = EvaluationSet(AnnotatedCopy(counted), 32, memory_bytes=0)
    assert counted.decoded == 0
    plain = EvaluationSet(Split(7), 32)
    for mine, other in zip(examples.truth, plain.truth, strict=True):
        np.testing.assert_array_equal(mine.boxes, other.boxes)
    next(examples.batches(3))
    assert counted.decoded == 3
    for mine, other in zip(examples.batches(3), plain.batches(3), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert examples.evaluate(Oracle("stretch"), CLASSES)["AP"] == pytest.approx(100)


def test_another_fit_than_the_images_misses():
    examples = EvaluationSet(Split(4), 32, "letterbox")
    assert examples.evaluate(Oracle("stretch"), CLASSES)["AP"] < 50


def test_truth_is_on_the_original_and_progress_is_told():
    seen = []
    examples = EvaluationSet(Split(2), 32, on_progress=lambda *a: seen.append(a))
    assert [t.image_id for t in examples.truth] == ["0", "1"] and len(examples) == 2
    np.testing.assert_allclose(examples.truth[1].boxes, [[5, 20, 25, 31]])
    assert seen == [(1, 2), (2, 2)]


def test_a_detector_is_measured():
    examples = EvaluationSet(Split(3), 32)
    result = examples.evaluate(KerasRunner(Tiny(32, CLASSES)), CLASSES)
    assert 0 <= result["AP"] <= 100


def test_mistakes_are_told():
    with pytest.raises(MkdError, match="image 0: expected a labelled image"):
        EvaluationSet(Split(2, labelled=False), 32)
    with pytest.raises(MkdError, match="at least one image"):
        EvaluationSet(Split(0), 32)
    with pytest.raises(MkdError, match="fit"):
        EvaluationSet(Split(2), 32, "crop")
    examples = EvaluationSet(Split(2), 64)
    with pytest.raises(MkdError, match="images of 64 px, got one for 32 px"):
        examples.evaluate(Oracle("stretch"), CLASSES)
    with pytest.raises(MkdError, match="classes bright, dark, in this order, got dark, bright"):
        examples.evaluate(Oracle("stretch"), CLASSES[::-1])
