"""Moments: the correlations of standardised maps, with and without weights, kernels and constant channels."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.strategies.maps import standardize
from mkd_tf.strategies.moments import Channels
from tests import reference

RNG = np.random.default_rng(0)
CELLS = 24
WEIGHTS = RNG.choice([0.1, 1.0], (3, CELLS, 1)).astype("float32")
# A channel far from 0, one that is almost constant, and one that is.
MAPS = RNG.normal(RNG.normal(0, 3, (3, 1, 5)), [1, 2, 0.5, 1e-3, 0], (3, CELLS, 5)).astype("float32")
OTHERS = (RNG.normal(1, 1, (3, CELLS, 4)) + 0.5 * MAPS[..., :4]).astype("float32")
WIDER, NARROWER = (RNG.normal(0, 1, (5, n)).astype("float32") for n in (7, 2))


def mixed(cells, kernel):
    return cells if kernel is None else cells @ kernel


def products(first, second, weights):
    shares = np.full_like(WEIGHTS, 1 / CELLS) if weights is None else weights / weights.sum(1, keepdims=True)
    return np.einsum("bnc,bnd->bcd", np.array(first) * shares, np.array(second))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("kernel", [None, WIDER, NARROWER])
def test_correlations_are_those_of_standardised_maps(kernel, weights):
    found, other = Channels(MAPS, weights, kernel), Channels(OTHERS, weights)
    ours, theirs = standardize(mixed(MAPS, kernel), weights), standardize(OTHERS, weights)
    for got, expected in (
        (found.correlations(other), products(ours, theirs, weights)),
        (other.correlations(found), products(theirs, ours, weights)),
        (found.correlations(found), products(ours, ours, weights)),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    variances = np.einsum("bcc->bc", products(ours, ours, weights))
    np.testing.assert_allclose(found.variances, variances, atol=1e-5)
    if kernel is None:
        np.testing.assert_allclose(variances[:, 4], 0, atol=1e-6)
        # But for the almost constant ones, whose rounding is blown up.
        varying = Channels(MAPS[..., :3], weights)
        expected = np.array(standardize(MAPS[..., :3], weights)) @ NARROWER[:3]
        np.testing.assert_allclose(varying.mixed(NARROWER[:3]), expected, atol=2e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_correlations_against_the_reference(weights):
    for i, found in enumerate(
        Channels(MAPS[..., :3], weights, WIDER[:3]).correlations(Channels(OTHERS, weights))
    ):
        grid = None if weights is None else weights[i].reshape(4, 6)
        maps = (MAPS[i, :, :3] @ WIDER[:3]).reshape(4, 6, 7), OTHERS[i].reshape(4, 6, 4)
        expected = reference.fsp(*(reference.standardized(x, grid) for x in maps), grid)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kernel", [None, WIDER])
def test_pairs_of_channels(kernel):
    other = RNG.normal(0, 1, (3, CELLS, 5 if kernel is None else 7)).astype("float32")
    found, theirs = Channels(MAPS, WEIGHTS, kernel), Channels(other, WEIGHTS)
    expected = np.einsum("bcc->bc", np.array(found.correlations(theirs)))
    np.testing.assert_allclose(found.paired(theirs), expected, atol=1e-6)


def by_standardising(first, second, goal, kernels):
    a, b = (standardize(mixed(x, k), WEIGHTS) for x, k in zip((first, second), kernels, strict=True))
    shares = WEIGHTS / tf.reduce_sum(WEIGHTS, axis=1, keepdims=True)
    return tf.reduce_mean((tf.einsum("bnc,bnd->bcd", a * shares, b) - goal) ** 2, axis=(1, 2))


@pytest.mark.parametrize("is_mixed", [False, True])
def test_distances_and_their_gradients_are_those_of_standardised_maps(is_mixed):
    kernels = [WIDER[:3], RNG.normal(0, 1, (4, 6)).astype("float32")] if is_mixed else [None, None]
    goal = RNG.uniform(-1, 1, (3, *((7, 6) if is_mixed else (3, 4)))).astype("float32")
    variables = [
        tf.Variable(MAPS[..., :3]),
        tf.Variable(OTHERS),
        *(tf.Variable(k) for k in kernels if is_mixed),
    ]
    values, gradients = [], []
    for slow in (True, False):
        with tf.GradientTape() as tape:
            maps, mixings = [*map(tf.convert_to_tensor, variables[:2])], [*variables[2:]] or kernels
            if slow:
                value = by_standardising(*maps, goal, mixings)
            else:
                first, second = (Channels(x, WEIGHTS, k) for x, k in zip(maps, mixings, strict=True))
                value = first.distance(second, goal)
        values.append(value)
        gradients.append(tape.gradient(value, variables))
    np.testing.assert_allclose(values[1], values[0], atol=1e-5)
    for slow, found in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, slow, atol=1e-5)
