"""The pool of images: who may use which labels, and what the control arm sees."""

import numpy as np
import pytest

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.data.base import Dataset, element
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.training.images import Images, unlabelled_per_batch


class Few(Dataset):
    """Twelve labelled images and, if asked for, four without labels."""

    name, class_names = "few", ("a", "b")

    def __init__(self, unlabelled=True):
        self.split_names = ("train", "unlabelled") if unlabelled else ("train",)

    def _split(self, name):
        count, labelled = (12, True) if name == "train" else (4, False)
        box, image = np.float32([[0.2, 0.2, 0.7, 0.7]]), np.zeros((16, 16, 3), "uint8")
        return [
            element(image + 10 * i, f"{i}", box[:labelled], np.int32([0])[:labelled], is_labelled=labelled)
            for i in range(count)
        ]


def load(unlabelled=True, **values):
    config = configuration.from_values({"image_size": 32, "batch_size": 4} | values)
    return Images.load(Few(unlabelled), config)


def test_labels_are_given_by_a_seeded_choice():
    made = load(labelled=5, seed=3)
    assert made.all_labelled.tolist() == list(range(12))
    assert len(made.labelled) == len(set(made.labelled)) == 5
    assert set(made.labelled) < set(range(12))
    assert sorted([*made.labelled, *made.unlabelled]) == list(range(16))
    assert load(labelled=5, seed=3).labelled.tolist() == made.labelled.tolist()
    assert load(labelled=5, seed=4).labelled.tolist() != made.labelled.tolist()
    assert load(labelled=0).unlabelled.tolist() == [12, 13, 14, 15]


def test_more_labels_than_there_are_are_told():
    with pytest.raises(MkdError, match="labelled: expected at most 12, got 13"):
        load(labelled=13)


def test_streams_of_each_role():
    def shares(made, role):
        return [(s.indices.tolist(), s.per_batch) for s in made.streams(role)]

    made = load(labelled=5)
    assert shares(made, "teacher") == [(list(range(12)), 4)]
    same = load(labelled=5, teacher_labels="same")
    assert shares(same, "teacher") == [(made.labelled.tolist(), 4)]
    assert (made.steps_per_epoch("teacher"), same.steps_per_epoch("teacher")) == (3, 2)
    assert shares(made, "student_alone") == [(made.labelled.tolist(), 4)]
    for role in ("guide", "student"):
        assert shares(made, role) == [(made.labelled.tolist(), 1), (made.unlabelled.tolist(), 3)]
    assert shares(load(labelled=5, unlabelled_share=0.0), "student") == [(made.labelled.tolist(), 4)]
    assert shares(load(labelled=5, unlabelled_share=1.0), "student") == [(made.unlabelled.tolist(), 4)]


def test_both_arms_take_the_same_number_of_steps():
    made = load(labelled=5)
    assert {
        role: made.steps_per_epoch(role) for role in ("teacher", "guide", "student", "student_alone")
    } == {
        "teacher": 3,
        "guide": 4,
        "student": 4,
        "student_alone": 4,
    }


def test_the_control_arm_sees_the_same_images_when_all_are_labelled():
    made = load(unlabelled=False)
    arms = [
        list(made.batches(role, made.store.truth, {"student": grid_anchors(32)}, 0, 4).as_numpy_iterator())
        for role in ("student_alone", "student")
    ]
    assert len(arms[0]) == 4
    for alone, distilled in zip(*arms, strict=True):
        np.testing.assert_array_equal(alone["images"], distilled["images"])
        for name, value in alone["targets"]["student"].items():
            np.testing.assert_array_equal(value, distilled["targets"]["student"][name])


def test_images_have_the_size_of_the_largest_role():
    made = load(teacher_image_size=64)
    assert made.image_size == 64
    assert made.store.images(np.array([0])).shape == (1, 80, 80, 3)


@pytest.mark.parametrize(
    ("batch", "share", "labelled", "unlabelled", "expected"),
    [
        (16, 0.75, 64, 2336, 12),
        (16, 0.75, 20, 185, 12),
        (16, 0.75, 300, 0, 0),
        # One stray image: 4 times in the 19 steps of an epoch is not once a batch, but a batch has one.
        (16, 0.75, 300, 1, 1),
        (16, 0.75, 300, 30, 5),  # 4 * 30 in 330 / 16 steps
        (2, 0.75, 300, 300, 1),
        (16, 0.97, 300, 3000, 15),
        (16, 0.03, 300, 300, 1),
        (16, 0.0, 300, 300, 0),
        (16, 1.0, 300, 300, 16),
        (1, 1.0, 300, 300, 1),
    ],
)
def test_both_kinds_have_a_place_in_a_batch(batch, share, labelled, unlabelled, expected):
    assert unlabelled_per_batch(batch, share, labelled, unlabelled) == expected


def test_a_batch_of_one_cannot_hold_two_kinds():
    with pytest.raises(MkdError, match="batch_size: expected 2 or more.*unlabelled_share to 0 or 1"):
        load(labelled=5, batch_size=1).streams("student")
    assert [s.per_batch for s in load(unlabelled=False, batch_size=1).streams("student")] == [1]
