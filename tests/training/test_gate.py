"""The gate: figures worked by hand, its verdicts and what it says of likely mistakes."""

import numpy as np
import pytest

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.results import empty_results, read_results, write_results
from mkd_tf.schemas.training import ResultsFile
from mkd_tf.training import gate

NAMES = ("cat", "dog")
# Four objects in each image, far from each other.
CORNERS = np.float32([[0, 0, 30, 30], [0, 60, 30, 90], [60, 0, 90, 30], [60, 60, 90, 90]])
LABELS = np.int32([0, 0, 1, 1])


def truth(count=4):
    none = np.zeros(4, bool)
    return [Truth(f"{i}", 100, 100, CORNERS.astype("float64"), LABELS, none, none) for i in range(count)]


def found(labels=LABELS, scores=(0.9, 0.8, 0.7, 0.6), boxes=CORNERS):
    return Detections(np.float32(boxes) / 100, np.float32(scores), np.int32(labels))


def measure(detections):
    return gate.measure(truth(), detections, NAMES, "theirs", "validation")


def test_a_perfect_teacher():
    made = measure([found()] * 4)
    assert (made["images"], made["objects"], made["unknown_images"]) == (4, 16, 0)
    assert made["AP"] == pytest.approx(100)
    assert (made["f1"], made["f1_without_classes"], made["threshold"]) == (1, 1, 0.6)
    assert (made["verdict"], made["reasons"]) == ("good", [])
    assert made["per_class"]["dog"] == {
        "objects": 8,
        "AP": pytest.approx(100),
        "threshold": 0.6,
        "precision": 1,
        "recall": 1,
    }
    at = {s["score"]: s for s in made["scores"]}
    # From 0.8 on the two cats of each image are shown: 8 of 16 objects.
    assert (at[0.8]["detections"], at[0.8]["precision"], at[0.8]["recall"]) == (8, 1, 0.5)
    lines = gate.said(made)
    expected = (
        "teacher gate: AP 100.0, best F1 1.00 on 4 images (validation), 16 objects: good enough to teach"
    )
    assert lines[0] == expected
    assert "  dog: AP 100.0 on 8 objects, best F1 from score 0.60 on" in lines
    assert gate.said(made, is_short=True) == [expected]
    gate.check(made, "fail")


def test_f1_by_hand():
    # Of 16 objects 4 are found, with 4 wrong detections of lower score: 2 * 4 / (8 + 16) with all of
    # them, 2 * 4 / (4 + 16) = 0.4 with the right ones alone.
    wrong = [[40, 40, 50, 50]]
    made = measure([found([0, 0], (0.9, 0.3), np.concatenate([CORNERS[:1], wrong]))] * 4)
    assert made["f1"] == pytest.approx(0.4)
    assert made["threshold"] == pytest.approx(0.9, abs=1e-3)
    assert made["verdict"] == "weak"
    assert made["unknown_classes"] == ["dog"]
    assert made["reasons"] == ["it does not know dog"]
    gate.check(made, "fail")
    np.testing.assert_allclose(gate.thresholds(made, NAMES, 0.1), [0.9, 0.1], atol=1e-3)
    np.testing.assert_allclose(gate.thresholds(made, NAMES, 0.95), [0.95, 0.95])


def test_a_permuted_class_map_is_seen():
    made = measure([found(1 - LABELS)] * 4)
    assert (made["verdict"], made["f1"], made["f1_without_classes"]) == ("unfit", 0, 1)
    (reason, unknown) = made["reasons"]
    assert reason == (
        "its boxes lie on objects, but under other names (what it calls cat is 100% dog; "
        "what it calls dog is 100% cat): check --class_map"
    )
    assert unknown == "it does not know cat, dog"
    with pytest.raises(
        MkdError, match="teacher gate of theirs: expected a best F1 of 0.25 or more.*--class_map"
    ):
        gate.check(made, "fail")
    gate.check(made, "warn")


def test_boxes_of_another_format_are_seen():
    made = measure([found(boxes=CORNERS[:, [2, 3, 0, 1]] / 3)] * 4)
    assert made["verdict"] == "unfit"
    assert made["reasons"][0].startswith("hardly a box lies on an object: check that it saw these images")
    own = gate.measure(truth(), [found(boxes=CORNERS[:, [2, 3, 0, 1]] / 3)] * 4, NAMES, "t", "x", False)
    assert own["reasons"][0] == "hardly a box lies on an object"


def test_only_images_with_an_answer_count():
    made = measure([found(), None, None, found()])
    assert (made["images"], made["unknown_images"], made["objects"]) == (2, 2, 8)
    assert made["AP"] == pytest.approx(100)
    assert made["reasons"] == ["measured on 8 objects only"]
    none = measure([None] * 4)
    assert none["verdict"] == "unmeasured"
    assert gate.said(none) == [
        "teacher gate: could not be measured (it answers for no image with labelled objects)"
    ]
    with pytest.raises(MkdError, match="got – on 0 images"):
        gate.check(none, "fail")


def test_a_teacher_that_finds_nothing_is_unfit():
    empty = found([], [], np.zeros((0, 4)))
    made = measure([empty] * 4)
    assert (made["verdict"], made["f1"], made["AP"]) == ("unfit", 0, 0)


def test_the_record_is_one_of_results(tmp_path):
    results: ResultsFile = empty_results()
    for made in (measure([found()] * 4), measure([None] * 4), measure([found([], [], np.zeros((0, 4)))] * 4)):
        results["teacher_gate"] = made | {"test_AP": 12.5}
        write_results(tmp_path / "results.json", results)
        assert read_results(tmp_path / "results.json")["teacher_gate"] == results["teacher_gate"]
    assert schemas.FILES[ResultsFile].version == 1
