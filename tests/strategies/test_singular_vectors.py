"""Singular vectors against NumPy's, the relation against loops, and a gradient without singularities."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import LayerRelation
from mkd_tf.strategies.singular_vectors import aligned, patterns, signed, singular_relation_loss
from tests import reference
from tests.strategies import fakes

# More cells than channels, and fewer.
each_side = pytest.mark.parametrize(("cells", "channels"), [(12, 5), (5, 12)])


def left_vectors(features, count):
    """NumPy's singular values, of unit length together, and left vectors of larger elements above 0."""
    left, values, _ = np.linalg.svd(features.astype("float64"), full_matrices=False)
    left = left[:, :count] * np.where((left[:, :count] ** 3).sum(axis=0) < 0, -1, 1)
    return values[:count] / np.linalg.norm(values[:count]), left


@each_side
def test_patterns_are_the_singular_vectors(cells, channels):
    features = np.random.default_rng(0).normal(size=(2, cells, channels)).astype("float32")
    sizes, vectors = patterns(features, 3)
    for i in range(2):
        values, left = left_vectors(features[i], 3)
        np.testing.assert_allclose(sizes[i], values, rtol=1e-4)
        np.testing.assert_allclose(signed(vectors)[i], left, atol=1e-3)


@pytest.mark.parametrize(("cells", "channels"), [(150, 60), (60, 150)])
def test_the_largest_of_a_wide_map_without_a_gradient(cells, channels):
    rng = np.random.default_rng(3)
    bases = [np.linalg.qr(rng.normal(size=(side, 60)))[0] for side in (cells, channels)]
    # As of a trained network's layer: the 13th eigenvalue is a third of the fourth.
    features = (bases[0] * 0.94 ** np.arange(60) @ bases[1].T).astype("float32")[None]
    sizes, vectors = patterns(features, 4, is_fixed=True)
    values, left = left_vectors(features[0], 4)
    np.testing.assert_allclose(sizes[0], values, rtol=1e-4)
    np.testing.assert_allclose(signed(vectors)[0], left, atol=2e-3)
    exact = patterns(features, 4)
    np.testing.assert_allclose(sizes, exact[0], rtol=1e-4)
    np.testing.assert_allclose(signed(vectors), signed(exact[1]), atol=2e-3)


@pytest.mark.parametrize(("cells", "channels"), [(150, 60), (60, 150)])
def test_a_wide_map_of_nothing_and_one_that_is_broken(cells, channels):
    sizes, vectors = patterns(np.zeros((1, cells, channels), "float32"), 4, is_fixed=True)
    assert not np.any(sizes) and not np.any(vectors)
    # One pattern is all there is.
    one = np.outer(np.arange(cells), np.ones(channels)).astype("float32")[None]
    sizes, vectors = patterns(one, 4, is_fixed=True)
    np.testing.assert_allclose(sizes[0], [1, 0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(signed(vectors)[0, :, 0], left_vectors(one[0], 1)[1][:, 0], atol=1e-4)
    one[0, 0, 0] = np.nan
    assert np.isnan(patterns(one, 4, is_fixed=True)[1]).any()


@each_side
def test_their_gradient_is_that_of_the_decomposition(cells, channels):
    rng = np.random.default_rng(1)
    features, goal, direction = (
        rng.normal(size=s) for s in ((cells, channels), (cells, 2), (cells, channels))
    )
    variable = tf.Variable(features[None].astype("float32"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(signed(patterns(variable, 2)[1])[0] * goal.astype("float32"))
    found = (tape.gradient(value, variable).numpy()[0] * direction).sum()
    ahead, behind = ((left_vectors(features + h * direction, 2)[1] * goal).sum() for h in (1e-5, -1e-5))
    assert found == pytest.approx((ahead - behind) / 2e-5, rel=0.01)


@pytest.mark.parametrize("features", [np.zeros((4, 3)), np.eye(4, 3), np.ones((4, 3))])
def test_equal_singular_values_have_a_finite_gradient(features):
    variable = tf.Variable(features[None].astype("float32"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(patterns(variable, 3)[1] ** 3)
    assert np.isfinite(tape.gradient(value, variable)).all()


def test_alignment_by_hand():
    # The source's vectors are the student's second, and its first with the other sign.
    ours = np.float32([[[1, 0], [0, 1], [0, 0]]])
    theirs = np.float32([[[0.1, -0.9], [0.8, 0.3], [0, 0]]])
    np.testing.assert_allclose(aligned(ours, theirs)[0], [[0, -1], [1, 0], [0, 0]])


def test_the_relation_by_hand():
    # One channel over two cells, each (1, -1) or (-1, 1): one pattern of values 1 and -1, its sign made
    # the same everywhere. So are the relations, and the term is 0 though the student's maps are opposite.
    rising = np.float32([[[1], [-1]]])
    same = singular_relation_loss((rising, -rising), (rising, rising), rank=1)
    assert float(same[0]) == pytest.approx(0, abs=1e-6)
    # Over four cells the student's later layer has another pattern than its earlier one, the
    # source's has not: differences of 0 or 2 against 0, so R is 1 or exp(-2) against 1, on
    # half of the cells each.
    first, second = np.float32([[[1], [1], [-1], [-1]]]), np.float32([[[1], [-1], [1], [-1]]])
    other = singular_relation_loss((first, second), (first, first), rank=1)
    assert float(other[0]) == pytest.approx(0.5 * (1 - np.exp(-2)) ** 2, rel=1e-3)


def relation_by_loops(ours, theirs, rank, weights):
    """The term of one image, maps `[cells, channels]`, weights `[cells]`."""
    root, modes = np.sqrt(weights), []
    for student, source in zip(ours, theirs, strict=True):
        sizes, left = left_vectors(source * root[:, None], rank)
        candidates = left_vectors(student * root[:, None], min(rank + 3, *student.shape))[1]
        found = np.zeros(left.shape)
        for m in range(rank):
            cosines = candidates.T @ left[:, m]
            best = np.abs(cosines).argmax()
            found[:, m] = candidates[:, best] * np.sign(cosines[best])
        scale = sizes * np.sqrt(weights.sum()) / root[:, None]
        modes.append((found * scale, left * scale))
    total = 0.0
    for x, weight in enumerate(weights):
        for m in range(rank):
            for n in range(rank):
                a, b = (np.exp(-((modes[1][k][x, m] - modes[0][k][x, n]) ** 2) / 2) for k in (0, 1))
                total += weight * (a - b) ** 2
    return total / weights.sum() / rank**2


@pytest.mark.parametrize("mask", ["none", "foreground"])
def test_the_term_against_loops(mask):
    ports = {"teacher": fakes.port("teacher", 128), "student": fakes.port()}
    strategy = LayerRelation(form="svd", rank=2, mask=mask, pairs=(("C3", "C4"),))
    strategy.connect(ports)
    assert not strategy.variables
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    targets = {"student": fakes.targets(ports["student"])}
    for i, found in enumerate(strategy(outputs, targets)):
        weights = np.ones((4, 4))
        if mask == "foreground":
            weights = reference.foreground(targets["student"]["labels"][i], (8, 4, 2), 3, 4)
        maps = []
        # Both on the student's C4: its C3 is pooled by 2, the teacher's C3 and C4 by 4 and 2.
        for role, factors in (("student", (2, 1)), ("teacher", (4, 2))):
            taps = zip(("C3", "C4"), factors, strict=True)
            small = [
                reference.pooled(outputs[role][tap][i], f) if f > 1 else outputs[role][tap][i]
                for tap, f in taps
            ]
            maps.append([reference.standardized(m, weights).reshape(16, -1) for m in small])
        expected = relation_by_loops(*maps, 2, weights.reshape(-1))
        assert float(found) == pytest.approx(expected, rel=0.01)


def test_grids_that_do_not_divide_are_told():
    ports = {"teacher": fakes.port("teacher", 96), "student": fakes.port()}
    with pytest.raises(
        MkdError, match=r"pairs of layer_relation: expected grids that are multiples of \(4, 4\)"
    ):
        LayerRelation(form="svd").connect(ports)
