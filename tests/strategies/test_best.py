"""Source `best`: per anchor the teacher or the guide, whichever is more confident."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import Localization, SoftBoxes, SoftClasses
from mkd_tf.strategies.soft_targets import more_confident
from tests.strategies import fakes

LOG3 = math.log(3)
ROLES = ("teacher", "guide", "student")
each_strategy = pytest.mark.parametrize("strategy", [SoftClasses, SoftBoxes, Localization])


def scene(strategy, sizes=(64, 64, 64), **arguments):
    """A connected strategy and the outputs by role."""
    made = strategy(source="best", **arguments)
    ports = {role: fakes.port(role, size) for role, size in zip(ROLES, sizes, strict=True)}
    made.connect(ports)
    return made, {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}


def confidence(outputs):
    return (1 / (1 + np.exp(-outputs["class_logits"].astype("float64")))).max(-1)


def test_by_hand():
    # Confidences 3/4 and 1/4 of the first, 1/2 and 1/2 of the second; where both are equal,
    # the first; where one is not matched, the other.
    first = np.float32([[[LOG3], [-LOG3], [0], [5]]])
    second = np.zeros((1, 4, 1), "float32")
    values = np.arange(4, dtype="float32").reshape(1, 4, 1)
    found, logits, matched = more_confident(
        (values, first, np.float32([1, 1, 1, 0])), (values + 10, second, np.float32([1, 1, 1, 1]))
    )
    np.testing.assert_allclose(found[0, :, 0], [0, 11, 2, 13])
    np.testing.assert_allclose(logits[0, :, 0], [LOG3, 0, 0, 0])
    np.testing.assert_allclose(matched, [[1, 1, 1, 1]])
    found, _, matched = more_confident(
        (values, first, np.ones(4)), (values + 10, second, np.float32([1, 0, 1, 1]))
    )
    np.testing.assert_allclose(found[0, :, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(matched, [[1, 1, 1, 1]])
    _, _, matched = more_confident((values, first, np.zeros(4)), (values, second, np.float32([1, 0, 0, 1])))
    np.testing.assert_allclose(matched, [[1, 0, 0, 1]])


@each_strategy
def test_it_is_the_single_source_that_was_chosen(strategy):
    made, outputs = scene(strategy)
    better = confidence(outputs["guide"]) > confidence(outputs["teacher"])
    assert 0.2 < better.mean() < 0.8
    mixed = {
        name: np.where(better.reshape(*better.shape, *[1] * (x.ndim - 2)), outputs["guide"][name], x)
        for name, x in outputs["teacher"].items()
        if name not in fakes.TAPS
    }
    single = strategy()
    single.connect({role: fakes.port(role) for role in ("teacher", "student")})
    expected = single(outputs | {"teacher": mixed}, {})
    np.testing.assert_allclose(made(outputs, {}), expected, rtol=1e-5)


@each_strategy
def test_other_input_sizes(strategy):
    # The teacher at twice the size has no anchor for the student's coarsest level; the guide has.
    made, outputs = scene(strategy, (128, 64, 64))
    ours = outputs["student"]
    for name in ("class_logits", "box_encodings", "box_logits"):
        outputs["teacher"][name][:, 256:] = ours[name][:, :80]
        outputs["guide"][name] = ours[name].copy()
    np.testing.assert_allclose(made(outputs, {}), 0, atol=1e-5)
    # The guide is unsure and wrong where the teacher has an anchor: only the rest counts.
    outputs["guide"]["class_logits"][:, :80] = -9
    outputs["guide"]["box_encodings"][:, :80] += 3
    outputs["guide"]["box_logits"][:, :80, :, 0] += 3
    np.testing.assert_allclose(made(outputs, {}), 0, atol=1e-5)
    outputs["guide"]["class_logits"][:, 80:] = 3
    outputs["guide"]["box_encodings"][:, 80:] += 3
    outputs["guide"]["box_logits"][:, 80:, :, 0] += 3
    assert (np.array(made(outputs, {})) > 0.01).all()


@each_strategy
def test_no_gradient_to_either_source(strategy):
    made, outputs = scene(strategy)
    watched = tf.nest.map_structure(tf.Variable, outputs)
    with tf.GradientTape() as tape:
        term = made(watched, {})
    for role, gradients in tape.gradient(term, watched).items():
        sizes = [np.abs(g).max() for g in gradients.values() if g is not None]
        assert (max(sizes, default=0) > 0) == (role == "student"), role


@each_strategy
@pytest.mark.parametrize("missing", ["teacher", "guide"])
def test_a_missing_source_is_told(strategy, missing):
    ports = {role: fakes.port(role) for role in ROLES if role != missing}
    with pytest.raises(MkdError, match=f"strategy .*: expected a {missing} to learn from, got networks"):
        strategy(source="best").connect(ports)


def test_other_classes_of_one_source_are_told():
    ports = {role: fakes.port(role, num_classes=2 if role == "guide" else 3) for role in ROLES}
    with pytest.raises(MkdError, match="the 3 classes of the student, got 2 classes in the guide"):
        SoftClasses(source="best").connect(ports)


def test_the_teacher_is_asked_first():
    made, outputs = scene(SoftClasses)
    assert made.roles == ("teacher", "guide")
    outputs["guide"]["class_logits"] = outputs["teacher"]["class_logits"].copy()
    single = SoftClasses()
    single.connect({role: fakes.port(role) for role in ("teacher", "student")})
    np.testing.assert_array_equal(made(outputs, {}), single(outputs, {}))
