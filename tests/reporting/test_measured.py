"""What a report measures itself: a small network on a few images."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import Dataset
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import save_detector
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.reporting import measured
from mkd_tf.reporting.measured import Evenly, Sets, measure
from tests.reporting.made import Gallery

NAMES = ("a", "b", "c")


def stretch(folder):
    return "stretch"


class Images(Dataset):
    """Grey images in two splits, or in one."""

    name, class_names = "images", NAMES

    def __init__(self, *split_names: str):
        self.split_names = split_names
        self._splits = {name: Gallery(7) for name in split_names}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    for role, names in (("student", NAMES), ("other", ("a", "b"))):
        detector = DETECTORS.build("tiny(size='fast')", image_size=64, class_names=names)
        save_detector(detector, root / role / "best.keras")
    return {role: root / role for role in ("student", "other", "absent")}


def test_images_are_taken_at_equal_distances():
    split = Gallery(7)
    assert Evenly(split, 3).places == [0, 3, 6] and Evenly(split, 0).places == list(range(7))
    assert len(Evenly(split, 100)) == 7 and len(Evenly(split[:0], 4)) == 0
    chosen = Evenly(split, 3)
    assert chosen[1]["image/id"] == "test_00003" and chosen.image(1) is split[3]["image"]


def test_networks_are_run_and_reasons_kept(stages, monkeypatch):
    fits = []

    def images_of(split, size, fit):
        fits.append((len(split), fit))
        return EvaluationSet(split, size, fit)

    monkeypatch.setattr(measured, "EvaluationSet", images_of)
    sets = Sets(Images("test", "validation"), 4)
    found = measure(stages, sets, lambda folder: "letterbox" if folder.name == "student" else "stretch")
    # The images of both splits are fitted as those that the network has learned from.
    assert fits == [(4, "letterbox")] * 2
    assert sets.test(64, "letterbox") is sets.test(64, "letterbox") is not sets.test(64, "stretch")
    assert list(found.networks) == ["student"] and found.counted == "4 of 7 test images"
    student = found.networks["student"]
    assert len(student.detections) == len(found.truth) == 4
    assert student.judged.objects.sum() == 12
    # Untrained, it finds something right or it has no threshold of its own; both are told.
    assert student.point.startswith(("best F1 on 4 validation images", "a default: no detection"))
    assert "other classes" in found.missing["other"] and "no such file" in found.missing["absent"]
    assert set(found.classes_by_size) <= {0, 1, 2} and np.all(student.judged.scores > 0)


def test_without_validation_the_default_is_named(stages):
    student = measure({"student": stages["student"]}, Sets(Images("test"), 0), stretch).networks["student"]
    assert (student.threshold, student.point) == (DEFAULT_SCORE, "a default: no validation split")


def test_the_point_in_the_file_is_used(tmp_path):
    detector = DETECTORS.build("tiny(size='fast')", image_size=64, class_names=NAMES)
    detector.operating_point = {"value": 0.42, "f1": 0.5, "chosen": "by hand"}
    save_detector(detector, tmp_path / "best.keras")
    sets = Sets(Images("test", "validation"), 2)
    student = measure({"student": tmp_path}, sets, stretch).networks["student"]
    assert (student.threshold, student.point) == (0.42, "by hand")


def test_no_network_and_no_test_split_are_errors(stages):
    with pytest.raises(MkdError, match="no such file"):
        measure({"absent": stages["absent"]}, Sets(Images("test"), 0), stretch)
    with pytest.raises(MkdError, match="expected a split among train"):
        Sets(Images("train"), 0)
