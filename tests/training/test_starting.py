"""A stage's networks start from the one that the options name."""

import numpy as np
import pytest

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.config import from_values
from mkd_tf.training.plan import Stage
from mkd_tf.training.starting import first_network, start_networks
from tests import harness


class FakeStore:
    def images(self, indices):
        return np.zeros((len(indices), 64, 64, 3), "uint8")


class FakeImages:
    labelled, unlabelled, store = np.arange(3), np.arange(3, 8), FakeStore()


def build(seed):
    return harness.build("tiny(widths=(8,8,8,8), pyramid=8)", seed=seed)


def first_kernel(detector):
    return detector.core.get_layer("stem_conv").get_weights()[0]


def start(role, learning, trained, **options):
    said = []
    more = {name: options.pop(name) for name in ("method", "guide") if name in options}
    stage = Stage(role, options.pop("network", "tiny"), 1, **more)
    start_networks(stage, learning, trained, FakeImages, from_values(options), said.append)
    return said


def test_the_student_takes_the_guide_and_the_guide_the_teacher():
    teacher, guide, student = build(1), build(2), build(3)
    said = start(
        "guide", {"student": guide}, {"teacher": teacher}, guide_init="teacher", student_init="guide"
    )
    assert said == ["guide: starts from the teacher"]
    np.testing.assert_array_equal(first_kernel(guide), first_kernel(teacher))
    other = build(4)
    trained = {"teacher": teacher, "guide": other}
    assert start("student", {"student": student}, trained, student_init="guide")
    np.testing.assert_array_equal(first_kernel(student), first_kernel(other))


def test_a_guide_that_learns_inherits_before_its_student():
    teacher, guide, student = build(1), build(2), build(3)
    learning, options = (
        {"student": student, "guide": guide},
        {"guide_init": "teacher", "student_init": "guide"},
    )
    said = start("student", learning, {"teacher": teacher}, **options)
    assert said == ["guide: starts from the teacher", "student: starts from the guide"]
    np.testing.assert_array_equal(first_kernel(student), first_kernel(teacher))


def test_the_student_alone_and_compressions_keep_their_weights():
    for role, more in (("student_alone", {}), ("student", {"method": "qat"})):
        network = build(3)
        before = first_kernel(network)
        assert not start(role, {"student": network}, {"teacher": build(1)}, student_init="teacher", **more)
        np.testing.assert_array_equal(first_kernel(network), before)


def test_by_default_each_takes_the_next_larger_network():
    teacher, guide, student = build(1), build(2), build(3)
    assert start("guide", {"student": guide}, {"teacher": teacher}) == ["guide: starts from the teacher"]
    trained = {"teacher": build(4), "guide": guide}
    assert start("student", {"student": student}, trained) == ["student: starts from the guide"]
    assert start("student", {"student": student}, {"teacher": teacher}) == [
        "student: starts from the teacher"
    ]
    assert not start("student", {"student": student}, trained, student_weights="other.keras")
    assert not start("student", {"student": student}, trained, student_init="random")


def test_by_default_another_family_keeps_its_random_weights():
    teacher, student = build(1), harness.build("resnet(depth=18, width=0.125, pyramid=8)", seed=2)
    before = student.get_weights()
    (line,) = start("student", {"student": student}, {"teacher": teacher})
    assert line.startswith("student: keeps its own initial weights, as only 3% (teacher) of them are in")
    assert "--student_init=teacher --start=uniform+imitation" in line
    assert line.endswith("A larger network of its own family as --guide hands on its channels, too.")
    assert all((a == b).all() for a, b in zip(before, student.get_weights(), strict=True))
    assert start("student", {"student": student}, {"teacher": teacher}, student_init="teacher")
    assert not all((a == b).all() for a, b in zip(before, student.get_weights(), strict=True))


def test_by_default_the_teacher_is_taken_where_the_guide_is_of_another_family():
    teacher, student = build(1), build(3)
    trained = {"teacher": teacher, "guide": harness.build("resnet(depth=18, width=0.125, pyramid=8)", seed=2)}
    assert start("student", {"student": student}, trained) == ["student: starts from the teacher"]
    np.testing.assert_array_equal(first_kernel(student), first_kernel(teacher))
    third_family = harness.build("mobilenet_v2(pyramid=8)", seed=3)
    (line,) = start("student", {"student": third_family}, trained)
    assert "--guide" not in line, "there is one"


def test_by_default_nothing_is_taken_of_a_guide_that_knows_nothing_yet():
    teacher, guide, student = build(1), build(2), build(3)
    learning = {"student": student, "guide": guide}
    said = start("student", learning, {"teacher": teacher}, guide_init="random", guide="tiny")
    assert said == ["student: starts from the teacher"]
    learning = {"student": build(4), "guide": build(5)}
    said = start("student", learning, {"teacher": teacher}, guide="tiny")
    assert said == ["guide: starts from the teacher", "student: starts from the guide"]


@pytest.mark.parametrize(
    ("network", "options", "kept"),
    [
        ("mobilenet_v2(backbone_weights='imagenet')", {}, True),
        ("mobilenet_v2", {"backbone_weights": "imagenet"}, True),
        ("mobilenet_v2", {}, False),
        ("tiny", {"backbone_weights": "imagenet"}, False),
    ],
)
def test_by_default_pretrained_backbones_are_kept(network, options, kept):
    student = build(3)
    said = start("student", {"student": student}, {"teacher": build(1)}, network=network, **options)
    assert said == ([] if kept else ["student: starts from the teacher"])


def test_channels_that_are_drawn_anew_are_named_and_depend_on_the_seed():
    first, second = build(3), build(3)
    for seed, student in enumerate((first, second)):
        (line,) = start(
            "student", {"student": student}, {"teacher": build(1)}, start="uniform+fresh", seed=seed
        )
        assert "starts from the teacher; new weights in a share of pyramid_out3_conv, pyramid_out3_bn" in line
    kernels = [n.core.get_layer("pyramid_out3_conv").get_weights()[0] for n in (first, second)]
    np.testing.assert_array_equal(kernels[0][..., :4], kernels[1][..., :4])
    assert (kernels[0][..., 4:] != kernels[1][..., 4:]).all()


def test_of_combined_teachers_the_first_network_counts():
    first, second = build(1), build(2)
    assert first_network(mkd_tf.Flipped(mkd_tf.Ensemble([first, second]))) is first


def test_a_guide_that_is_not_there():
    with pytest.raises(MkdError, match="student_init: expected auto, random or teacher, got guide"):
        from_values({"guide": "none", "student_init": "guide"})
