"""Localisation distillation against the reference and values worked by hand."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.strategies import Localization
from mkd_tf.strategies.localization import localization_loss
from tests import reference
from tests.strategies import fakes

LOG3 = math.log(3)


@pytest.mark.parametrize("tau", [1.0, 10.0])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_against_the_reference(tau, num_classes):
    rng = np.random.default_rng(0)
    student, source = rng.normal(0, 3, (2, 2, 20, 4, 5)).astype("float32")
    sure = rng.normal(-1, 2, (2, 20, num_classes)).astype("float32")
    found = localization_loss(student, source, sure, np.ones(20, "float32"), tau)
    expected = [reference.localization(*triple, tau) for triple in zip(student, source, sure, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_by_hand():
    # Two bins. One encoding of four differs: KL((1/2, 1/2) || (3/4, 1/4)), a quarter of it in
    # the mean. Confidences 3/4, 3/4 and 1/2 with only the first two apart: 3/2 of 2.
    flat, peaked = [[0, 0]] * 4, [[LOG3, 0], *[[0, 0]] * 3]
    student, source = np.float32([[peaked, peaked, flat]]), np.float32([[flat] * 3])
    sure = np.float32([[[LOG3], [LOG3], [0]]])
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    found = localization_loss(student, source, sure, np.ones(3, "float32"), 1.0)
    assert float(found[0]) == pytest.approx(1.5 * divergence / 4 / 2, rel=1e-4)
    # Twice the logits at twice the temperature: the same distributions, times tau squared.
    warm = localization_loss(2 * student, 2 * source, sure, np.ones(3, "float32"), 2.0)
    assert float(warm[0]) == pytest.approx(4 * 1.5 * divergence / 4 / 2, rel=1e-4)
    # Without its second anchor: 3/4 of max(1, 5/4).
    fewer = localization_loss(student, source, sure, np.float32([1, 0, 1]), 1.0)
    assert float(fewer[0]) == pytest.approx(0.75 * divergence / 4 / 1.25, rel=1e-4)


def test_a_bin_is_pulled_to_the_source():
    student = tf.Variable(np.zeros((1, 1, 4, 3), "float32"))
    source = np.zeros((1, 1, 4, 3), "float32")
    source[..., 2] = 5
    with tf.GradientTape() as tape:
        loss = localization_loss(student, source, np.float32([[[2]]]), np.ones(1, "float32"))
    gradient = tape.gradient(loss, student).numpy()
    assert (gradient[..., 2] < 0).all()
    assert (gradient[..., :2] > 0).all()


def without(port, name="box_logits"):
    return dataclasses.replace(port, shapes={k: v for k, v in port.shapes.items() if k != name})


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_head_without_bins_is_told(role):
    ports = {r: fakes.port(r) for r in ("teacher", "student")}
    ports[role] = without(ports[role])
    with pytest.raises(MkdError, match=rf"strategy localization: expected box_logits of the {role}.*bins=8"):
        Localization().connect(ports)


def test_other_bins_are_told():
    teacher = fakes.port("teacher")
    ports = {
        "teacher": dataclasses.replace(teacher, shapes=teacher.shapes | {"box_logits": (84, 4, 16)}),
        "student": fakes.port(),
    }
    with pytest.raises(MkdError, match="expected the 5 bins of the student, got 16 in the teacher"):
        Localization().connect(ports)


def test_anchors_of_another_scale_are_told():
    # Encodings measured from anchors of half the side say something else.
    teacher = fakes.port("teacher")
    ports = {
        "teacher": dataclasses.replace(teacher, anchors=grid_anchors(64, scale=3.0)),
        "student": fakes.port(),
    }
    with pytest.raises(MkdError, match="anchors of the teacher that coincide with the student's, got none"):
        Localization().connect(ports)
