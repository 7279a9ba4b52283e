"""Hints against the reference and values worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import Hint
from mkd_tf.strategies import hint as module
from mkd_tf.strategies.hint import foreground, hint_loss, level_shares
from tests import reference
from tests.strategies import fakes


def column(*values):
    """A map of one channel, its cells in one row."""
    return np.float32(values).reshape(1, 1, -1, 1)


def even(cells):
    return np.ones((1, cells, 1), "float32")


def test_against_the_reference():
    rng = np.random.default_rng(0)
    student, source = rng.normal(1, 2, (2, 3, 4, 5, 6)).astype("float32")
    weights = rng.choice([0.1, 1.0], (3, 4, 5)).astype("float32")
    found = hint_loss(student, source, weights.reshape(3, 20, 1))
    expected = [reference.hint(*triple) for triple in zip(student, source, weights, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_by_hand():
    # One minus the correlation: 0 for any rising line, 2 for a falling one, 1 for none.
    line = column(1, 2, 3, 4)
    for other, value in ((5 + 3 * line, 0), (-line, 2), (column(1, -1, -1, 1), 1)):
        assert float(hint_loss(line, other, even(4))[0]) == pytest.approx(value, abs=1e-4)


def test_weights_choose_what_counts():
    # They agree on the first three cells and not on the rest.
    ours, theirs = column(1, 2, 3, 9, 0, 9), column(1, 2, 3, 0, 9, 0)
    object_only = np.float32([1, 1, 1, 1e-6, 1e-6, 1e-6]).reshape(1, 6, 1)
    assert float(hint_loss(ours, theirs, object_only)[0]) < 1e-3
    assert float(hint_loss(ours, theirs, even(6))[0]) > 1


def test_the_foreground_is_where_objects_are():
    # Two levels of four and one cell, the first with two anchors per cell; class 3 is background.
    labels = np.int32([[3, 3, 0, 3, 3, 2, 3, 3, 1], [3, 3, 3, 3, 3, 3, 3, 3, 3]])
    first, second = foreground(labels, 3, ((8, 4), (1, 1)), 0.1)
    np.testing.assert_allclose(first[..., 0], [[0.1, 1, 1, 0.1], [0.1] * 4])
    np.testing.assert_allclose(second[..., 0], [[1], [0.1]])


@pytest.mark.parametrize("size", [64, 128])
def test_the_term_is_the_mean_over_levels(size):
    ports = {"guide": fakes.port("guide", size), "student": fakes.port()}
    strategy = Hint()
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    targets = {"student": fakes.targets(ports["student"])}
    pairs = {64: {"P3": "P3", "P4": "P4", "P5": "P5"}, 128: {"P3": "P4", "P4": "P5"}}[size]
    starts = {"P3": (0, 8), "P4": (64, 4), "P5": (80, 2)}
    for i, found in enumerate(strategy(outputs, targets)):
        terms = []
        for ours, theirs in pairs.items():
            start, side = starts[ours]
            labels = targets["student"]["labels"][i, start : start + side * side].reshape(side, side)
            adapted = outputs["student"][ours][i] @ np.array(strategy.adapters[ours].kernel)[0, 0]
            terms.append(reference.hint(adapted, outputs["guide"][theirs][i], np.where(labels < 3, 1, 0.1)))
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-3)


def test_the_student_moves_to_the_source():
    student, source = tf.Variable(column(1, -1, -1, 1)), column(1, 2, 3, 4)
    with tf.GradientTape() as tape:
        loss = hint_loss(student, source, even(4))
    student.assign_sub(tape.gradient(loss, student))
    after = np.corrcoef(student.numpy().reshape(-1), [1, 2, 3, 4])[0, 1]
    assert after > 0.1


def test_arguments_are_checked():
    with pytest.raises(MkdError, match="background of hint: expected a number above 0, got 0"):
        Hint(background=0)
    with pytest.raises(
        MkdError,
        match="taps of hint: expected one for each level of anchors, 64, 16, 4 of them, got P4 with 16",
    ):
        Hint(taps=("P4",)).connect({"guide": fakes.port("guide"), "student": fakes.port()})


def connected(**arguments):
    ports = {"guide": fakes.port("guide"), "student": fakes.port()}
    strategy = Hint(**arguments)
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    return strategy, outputs, {"student": fakes.targets(ports["student"])}


def test_the_shares_of_levels_by_hand():
    # Levels of two, one and one anchors: weights 1 + 0.5, 0 and 0.5; the second image has no object.
    weights = np.float32([[1, 0.5, 0, 0.5], [0, 0, 0, 0]])
    np.testing.assert_allclose(level_shares(weights, (2, 1, 1), (0, 1, 2)), [[0.75, 0, 0.25], [1 / 3] * 3])
    # Among the last two levels alone.
    np.testing.assert_allclose(level_shares(weights, (2, 1, 1), (1, 2)), [[0, 1], [0.5, 0.5]])


def test_levels_weigh_as_the_objects_in_them():
    single = {}
    weighted, outputs, targets = connected(levels="objects")
    kernels = {tap: np.array(layer.kernel)[0, 0] for tap, layer in weighted.adapters.items()}
    truth = targets["student"]
    for i, found in enumerate(weighted(outputs, targets)):
        terms, sums = [], []
        for tap, start, side in (("P3", 0, 8), ("P4", 64, 4), ("P5", 80, 2)):
            level = slice(start, start + side * side)
            labels = truth["labels"][i, level].reshape(side, side)
            single = outputs["student"][tap][i] @ kernels[tap], outputs["guide"][tap][i]
            terms.append(reference.hint(*single, np.where(labels < 3, 1, 0.1)))
            sums.append(truth["weights"][i, level].sum())
        assert float(found) == pytest.approx(np.average(terms, weights=sums), rel=1e-3)


def observed(strategy, outputs, steps):
    for _ in range(steps):
        strategy.observe(outputs, lambda x: x, strategy.observing())


def principal(maps, count):
    """The principal components of the channels, from the covariance within each of the images."""
    rows = np.concatenate([x.reshape(-1, x.shape[-1]) - x.mean(axis=(0, 1)) for x in maps.astype("float64")])
    return np.linalg.svd(rows, full_matrices=False)[2][:count].T


def test_components_are_the_sources_principal_ones():
    strategy, outputs, targets = connected(components=2)
    # Channels of different size, as trained ones are.
    outputs["guide"] |= {tap: outputs["guide"][tap] * [3, 2, 1, 0.5, 0.2] for tap in strategy.taps}
    outputs["guide"] = {k: v.astype("float32") for k, v in outputs["guide"].items()}
    observed(strategy, outputs, 40)
    bases = {tap: principal(outputs["guide"][tap], 2) for tap in strategy.taps}
    for tap, basis in bases.items():
        cosines = np.abs(np.sum(np.array(strategy._bases[tap]) * basis, axis=0))
        np.testing.assert_allclose(cosines, 1, atol=1e-3)
    starts = {"P3": (0, 8), "P4": (64, 4), "P5": (80, 2)}
    for i, found in enumerate(strategy(outputs, targets)):
        terms = []
        for tap, (start, side) in starts.items():
            labels = targets["student"]["labels"][i, start : start + side * side].reshape(side, side)
            adapted = outputs["student"][tap][i] @ np.array(strategy.adapters[tap].kernel)[0, 0]
            basis = np.array(strategy._bases[tap])
            terms.append(
                reference.hint(adapted, outputs["guide"][tap][i] @ basis, np.where(labels < 3, 1, 0.1))
            )
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-3)


def test_components_are_measured_in_the_first_steps_and_are_weights(monkeypatch):
    monkeypatch.setattr(module, "OBSERVED", 3)
    strategy, outputs, _ = connected(components=2)
    assert len(strategy.trainable_variables) == 3
    others = outputs | {"guide": fakes.outputs(fakes.port("guide"), seed=9)}
    observed(strategy, outputs, 2)
    # Going on from the weights, as from a backup.
    again, *_ = connected(components=2)
    again.set_weights(strategy.get_weights())
    for each in (strategy, again):
        observed(each, others, 1)
    closed = strategy.get_weights()
    for a, b in zip(closed, again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    observed(strategy, outputs, 2)
    for a, b in zip(closed, strategy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_components_than_channels_are_told():
    with pytest.raises(
        MkdError, match="components of hint: expected at most 5, the width of the guide's maps, got 6"
    ):
        connected(components=6)
