"""Attention maps against the reference and values worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import AttentionMap
from mkd_tf.strategies.attention_map import attention_loss, attention_map
from tests import reference
from tests.strategies import fakes


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_the_map_against_the_reference(p):
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    found = attention_map(maps, p)
    for i in range(2):
        np.testing.assert_allclose(found[i], reference.attention(maps[i], p).reshape(-1), rtol=1e-4)


def test_the_map_by_hand():
    # Two cells of two channels. Energies 1 + 2 = 3 and 4: by their norm 5, 0.6 and 0.8.
    maps = np.sqrt(np.float32([[[[1, 2], [4, 0]]]])) * np.float32([-1, 1])
    np.testing.assert_allclose(attention_map(maps)[0], [0.6, 0.8], rtol=1e-5)


def test_weights_come_before_the_norm():
    # Energies 3 and 4, the first at weight 1/4: 0.75 and 4 by their norm.
    maps = np.sqrt(np.float32([[[[3], [4]]]]))
    weights = np.float32([[[0.25], [1]]])
    norm = (0.75**2 + 4**2) ** 0.5
    np.testing.assert_allclose(attention_map(maps, weights=weights)[0], [0.75 / norm, 4 / norm], rtol=1e-5)


def test_the_two_forms_by_hand():
    # (0.6, 0.8) against (0.8, 0.6): 2 * 0.2^2 = 0.08 = 2 - 2 * 0.96, and its root.
    ours = np.sqrt(np.float32([3, 4])).reshape(1, 1, 2, 1)
    theirs = np.sqrt(np.float32([4, 3])).reshape(1, 1, 2, 1)
    assert float(attention_loss(ours, theirs)[0]) == pytest.approx(0.08, rel=1e-4)
    assert float(attention_loss(ours, theirs, form="paper")[0]) == pytest.approx(0.08**0.5, rel=1e-4)
    # Apart from each other: 2, its largest value.
    apart = np.float32([[[[0], [1]]]]), np.float32([[[[1], [0]]]])
    assert float(attention_loss(*apart)[0]) == pytest.approx(2)


def test_extreme_features_keep_their_map():
    maps = np.random.default_rng(1).uniform(0, 1, (1, 4, 4, 3)).astype("float32")
    for factor in (1e-10, 1e15):
        np.testing.assert_allclose(attention_map(maps * np.float32(factor)), attention_map(maps), rtol=1e-4)
    assert not np.any(attention_map(np.zeros_like(maps)))


def test_the_student_comes_to_look_where_the_source_looks():
    student = tf.Variable(np.ones((1, 1, 2, 1), "float32"))
    source = np.float32([[[[3], [1]]]])
    with tf.GradientTape() as tape:
        loss = attention_loss(student, source)
    gradient = tape.gradient(loss, student).numpy().reshape(-1)
    assert gradient[0] < 0 < gradient[1]


def test_the_term_is_the_mean_over_levels():
    ports = {"teacher": fakes.port("teacher", 128), "student": fakes.port()}
    strategy = AttentionMap(taps=("P3", "P4", "P5"))
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    for i, found in enumerate(strategy(outputs, {})):
        terms = []
        for theirs, ours in (("P4", "P3"), ("P5", "P4")):
            a = reference.attention(outputs["student"][ours][i], 2)
            b = reference.attention(outputs["teacher"][theirs][i], 2)
            terms.append(((a - b) ** 2).sum())
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-4)


def test_the_mask_is_that_of_the_targets_objects():
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = AttentionMap(mask="foreground")
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    targets = {"student": fakes.targets(ports["student"])}
    for i, found in enumerate(strategy(outputs, targets)):
        terms = []
        for tap, grid in (("C3", 8), ("C4", 4), ("C5", 2)):
            weights = reference.foreground(targets["student"]["labels"][i], (8, 4, 2), 3, grid)
            a, b = (reference.attention(outputs[role][tap][i], 2, weights) for role in ("student", "teacher"))
            terms.append(((a - b) ** 2).sum())
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-4)


def test_an_unknown_form_is_told():
    with pytest.raises(MkdError, match="form of attention_map: expected one of code, paper, got 'both'"):
        AttentionMap(form="both")


def centred_by_loops(features, weights=None):
    """The centred map `[h, w]` of one map: energies less their weighted mean, by their norm."""
    energy = (features.astype("float64") ** 2).sum(axis=-1)
    weights = np.ones(energy.shape) if weights is None else weights
    centred = weights * (energy - np.average(energy, weights=weights))
    return centred / np.sqrt((centred**2).sum())


def test_centred_maps_against_the_reference():
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    weights = rng.choice([0.1, 1.0], (2, 3, 4)).astype("float32")
    plain = attention_map(maps, centred=True)
    weighted = attention_map(maps, weights=weights.reshape(2, 12, 1), centred=True)
    for i in range(2):
        np.testing.assert_allclose(plain[i], centred_by_loops(maps[i]).reshape(-1), atol=1e-4)
        expected = centred_by_loops(maps[i], weights[i]).reshape(-1)
        np.testing.assert_allclose(weighted[i], expected, atol=1e-4)


def test_centred_maps_by_hand():
    # Energies 1 and 3 about their mean 2: -1 and 1, by the norm sqrt 2. Their mirror image is as far
    # as can be; so is what only looks alike: 101 and 103 have a cosine of almost 1 uncentred.
    def of(a, b):
        return np.sqrt(np.float32([a, b])).reshape(1, 1, 2, 1)

    root = 0.5**0.5
    np.testing.assert_allclose(attention_map(of(1, 3), centred=True)[0], [-root, root], rtol=1e-4)
    assert float(attention_loss(of(1, 3), of(3, 1), centred=True)[0]) == pytest.approx(4, rel=1e-4)
    assert float(attention_loss(of(101, 103), of(103, 101))[0]) < 1e-3
    assert float(attention_loss(of(101, 103), of(103, 101), centred=True)[0]) == pytest.approx(4, rel=0.03)


def test_a_uniform_map_carries_no_knowledge_once_centred():
    uniform = np.full((1, 7, 7, 3), 0.3, "float32")
    weights = np.random.default_rng(0).choice([0.1, 1.0], (1, 49, 1)).astype("float32")
    for cells in (None, weights):
        assert np.abs(attention_map(uniform, weights=cells, centred=True)).max() < 1e-3
    student = tf.Variable(np.random.default_rng(1).uniform(0, 1, (1, 7, 7, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        loss = attention_loss(student, uniform, centred=True)
    assert float(loss[0]) == pytest.approx(1, abs=1e-2)
    assert np.abs(tape.gradient(loss, student)).max() < 1e-3
