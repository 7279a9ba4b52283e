"""Unreduced losses against their formulas, values worked by hand, and numeric gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection import losses
from tests import reference
from tests.strategies import fakes

LOGITS = np.linspace(-6, 6, 25)
SOFT = np.linspace(0, 1, 11)
GRID = tuple(np.float32(g) for g in np.meshgrid(SOFT, LOGITS))


def test_cross_entropy_by_hand():
    # At logit 0 both classes are even: -log 1/2, whatever the target.
    assert float(losses.binary_cross_entropy(np.float32(0.3), np.float32(0))) == pytest.approx(math.log(2))
    # s = 3/4 at logit log 3.
    logit = np.float32(math.log(3))
    assert float(losses.binary_cross_entropy(np.float32(1), logit)) == pytest.approx(
        -math.log(0.75), rel=1e-5
    )
    assert float(losses.binary_cross_entropy(np.float32(0), logit)) == pytest.approx(
        -math.log(0.25), rel=1e-5
    )


# Target 1 at s = 3/4: the distance is 1/4, the cross-entropy log 4/3.
@pytest.mark.parametrize("beta", [0, 1, 2])
def test_quality_focal_by_hand(beta):
    found = losses.quality_focal(np.float32(1), np.float32(math.log(3)), beta)
    assert float(found) == pytest.approx(0.25**beta * math.log(4 / 3), rel=1e-4)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 1.5, 2])
def test_quality_focal_against_the_reference(beta):
    expected = np.vectorize(reference.quality_focal)(*GRID, beta)
    np.testing.assert_allclose(
        losses.quality_focal(*GRID, beta), expected, rtol=1e-4, atol=1e-3 if beta < 1 else 1e-6
    )


@pytest.mark.parametrize("beta", [0, 1, 2])
def test_the_factor_takes_part_in_the_gradient(beta):
    soft, logits = (g[np.abs(GRID[0] - 1 / (1 + np.exp(-GRID[1]))) > 0.01] for g in GRID)
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = losses.quality_focal(soft, z, beta)
    step = 1e-4
    high, low = (
        np.vectorize(reference.quality_focal)(soft, logits.astype("float64") + s, beta) for s in (step, -step)
    )
    np.testing.assert_allclose(tape.gradient(loss, z), (high - low) / (2 * step), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("beta", [0, 1, 2])
@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_extreme_logits_stay_finite_with_their_gradients(beta, target):
    z = tf.Variable([-1e4, -50.0, 0.0, 50.0, 1e4])
    with tf.GradientTape() as tape:
        loss = losses.quality_focal(tf.constant(target), z, beta)
    gradient = tape.gradient(loss, z).numpy()
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    assert (loss.numpy() >= 0).all()


@pytest.mark.parametrize("beta", [1, 2])
def test_nothing_is_lost_or_pulled_at_the_target(beta):
    z = tf.Variable([-3.0, 0.0, 2.0])
    with tf.GradientTape() as tape:
        loss = losses.quality_focal(tf.sigmoid(z.read_value()), z, beta)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    # The distance's own gradient has no side to choose at 0.
    np.testing.assert_allclose(tape.gradient(loss, z), 0, atol=1e-6)


def test_box_loss_is_one_minus_giou():
    a, b = np.float32([[0, 0, 1, 1], [0, 0, 2, 2]]), np.float32([[0, 2, 1, 3], [0, 0, 2, 2]])
    np.testing.assert_allclose(losses.giou_loss(a, b), [4 / 3, 0], atol=1e-6)


def test_divergence_by_hand():
    # KL((1/2, 1/2) || (3/4, 1/4)); a constant on the logits changes nothing.
    target, logits = np.float32([7, 7]), np.float32([math.log(3), 0])
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(losses.kl_divergence(target, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.kl_divergence(logits + 3, logits)) == pytest.approx(0, abs=1e-6)


def test_divergence_against_the_reference():
    target, logits = np.random.default_rng(0).normal(0, 3, (2, 20, 5)).astype("float32")
    expected = [reference.divergence(*rows) for rows in zip(target, logits, strict=True)]
    np.testing.assert_allclose(losses.kl_divergence(target, logits), expected, rtol=1e-4)


def test_bins_are_even():
    np.testing.assert_allclose(losses.bin_values(5), [-8, -4, 0, 4, 8])


def test_distribution_focal_by_hand():
    # Bins at -8, 0, 8 with probabilities 1/4, 1/2, 1/4. The encoding 2 lies a quarter of the
    # way from 0 to 8; -8 is the first bin, and so is what lies beyond it; 8 the last.
    logits = np.float32([[[[0, math.log(2), 0]] * 4]])
    found = losses.distribution_focal(np.float32([[[2, -8, -100, 8]]]), logits)
    expected = (0.75 * math.log(2) + 0.25 * math.log(4) + 3 * math.log(4)) / 4
    assert found.shape == (1, 1)
    assert float(found[0, 0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bins", [2, 8])
def test_distribution_focal_against_the_reference(bins):
    rng = np.random.default_rng(1)
    encodings = rng.normal(0, 5, (2, 20, 4)).astype("float32")
    logits = rng.normal(0, 2, (2, 20, 4, bins)).astype("float32")
    expected = [
        [reference.distribution_focal(*row) for row in zip(*pair, strict=True)]
        for pair in zip(encodings, logits, strict=True)
    ]
    np.testing.assert_allclose(losses.distribution_focal(encodings, logits), expected, rtol=1e-4)


def test_distribution_focal_leads_to_the_encoding():
    encodings = np.float32([[[0.5, -3.0, 7.9, 0.0]]])
    logits = tf.Variable(np.zeros((1, 1, 4, 6), "float32"))
    for _ in range(600):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(losses.distribution_focal(encodings, logits))
        logits.assign_sub(4.0 * tape.gradient(loss, logits))
    expectation = tf.reduce_sum(tf.nn.softmax(logits) * losses.bin_values(6), axis=-1)
    np.testing.assert_allclose(expectation, encodings, atol=0.1)


def test_extreme_distributions_stay_finite_with_their_gradients():
    logits = tf.Variable(np.float32([[[[1e4, -1e4, 50], [-50, 50, 0], [0, 0, 0], [-1e4, 1e4, 0]]]]))
    with tf.GradientTape() as tape:
        focal = losses.distribution_focal(np.float32([[[1e6, -1e6, 0, 3]]]), logits)
        total = tf.reduce_sum(focal) + tf.reduce_sum(losses.kl_divergence(-logits, logits))
    assert np.isfinite(total)
    assert np.isfinite(tape.gradient(total, logits)).all()


def test_ignored_locations_have_no_class_loss():
    port = fakes.port()
    outputs, targets = fakes.outputs(port), fakes.targets(port)
    ignored = np.zeros((2, 84), "float32")
    ignored[0, 1] = 1
    plain = losses.location_losses(outputs, targets, port.anchors, 1.0)
    left = losses.location_losses(outputs, targets | {"ignored": ignored}, port.anchors, 1.0)
    expected = np.array(plain[0])
    assert (expected[0, 1] > 0).all()
    expected[0, 1] = 0
    np.testing.assert_array_equal(left[0], expected)
    for a, b in zip(left[1:], plain[1:], strict=True):
        np.testing.assert_array_equal(a, b)
