"""Layer relation against the reference and values worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import LayerRelation
from mkd_tf.strategies.layer_relation import relation, relation_loss
from tests import reference
from tests.strategies import fakes


def column(*values):
    """A map of one channel, its cells in one row."""
    return np.float32(values).reshape(1, 1, -1, 1)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_relation_against_the_reference(factor):
    rng = np.random.default_rng(1)
    earlier = rng.normal(2, 3, (2, 4 * factor, 4 * factor, 5)).astype("float32")
    later = rng.normal(-1, 2, (2, 4, 4, 3)).astype("float32")
    found = relation(earlier, later)
    for i in range(2):
        np.testing.assert_allclose(found[i], reference.relation(earlier[i], later[i]), atol=1e-4)


@pytest.mark.parametrize("factor", [1, 2])
def test_weighted_relation_against_the_reference(factor):
    rng = np.random.default_rng(5)
    earlier = rng.normal(2, 3, (2, 4 * factor, 4 * factor, 5)).astype("float32")
    later = rng.normal(-1, 2, (2, 4, 4, 3)).astype("float32")
    weights = rng.choice([0.1, 1.0], (2, 4, 4)).astype("float32")
    found = relation(earlier, later, weights.reshape(2, 16, 1))
    for i in range(2):
        expected = reference.relation(earlier[i], later[i], weights[i])
        np.testing.assert_allclose(found[i], expected, atol=1e-4)


def test_weights_choose_where_layers_relate():
    # They rise together on the first three cells and fall on the rest.
    ours, theirs = column(1, 2, 3, 9, 0, 9), column(1, 2, 3, 0, 9, 0)
    object_only = np.float32([1, 1, 1, 1e-6, 1e-6, 1e-6]).reshape(1, 6, 1)
    assert float(relation(ours, theirs, object_only)[0, 0, 0]) == pytest.approx(1, abs=1e-3)
    assert float(relation(ours, theirs)[0, 0, 0]) < 0


@pytest.mark.parametrize("size", [64, 128, 96])
def test_the_mask_is_the_targets_on_both_grids(size):
    ports = {"teacher": fakes.port("teacher", size), "student": fakes.port()}
    strategy = LayerRelation(mask="foreground", pairs=(("C3", "C4"),))
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    targets = {"student": fakes.targets(ports["student"])}
    kernels = {tap: np.array(layer.kernel)[0, 0] for tap, layer in strategy.adapters.items()}
    for i, found in enumerate(strategy(outputs, targets)):
        labels = targets["student"]["labels"][i]
        ours, theirs = (reference.foreground(labels, (8, 4, 2), 3, grid) for grid in (4, size // 16))
        assert 0.1 in ours and 1 in ours
        expected = reference.relation(
            *(outputs["student"][tap][i] @ kernels[tap] for tap in ("C3", "C4")), ours
        ) - reference.relation(outputs["teacher"]["C3"][i], outputs["teacher"]["C4"][i], theirs)
        assert float(found) == pytest.approx(np.mean(expected**2), rel=1e-3)


def test_relation_by_hand():
    # Channels that rise together have correlation 1, however large; opposite ones -1.
    rising, falling = column(1, 2, 3), column(50, 30, 10)
    assert float(relation(rising, 10 * rising)[0, 0, 0]) == pytest.approx(1, abs=1e-4)
    assert float(relation(rising, falling)[0, 0, 0]) == pytest.approx(-1, abs=1e-4)
    # The mean of their two squared differences, 0 and (1 - -1)^2.
    both = np.concatenate([rising, falling], axis=-1)
    assert float(relation_loss(rising, both, np.float32([[[1, 1]]]))[0]) == pytest.approx(2, abs=1e-4)


def test_the_smaller_map_must_come_second():
    with pytest.raises(MkdError, match="pairs of layer_relation: expected the earlier, larger map first"):
        relation(np.zeros((1, 2, 2, 1), "float32"), np.zeros((1, 4, 4, 1), "float32"))


def test_the_term_is_the_mean_over_pairs():
    rng = np.random.default_rng(2)
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = LayerRelation()
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    kernels = {tap: rng.normal(size=layer.kernel.shape) for tap, layer in strategy.adapters.items()}
    for tap, layer in strategy.adapters.items():
        layer.kernel.assign(kernels[tap])
    adapted = {tap: outputs["student"][tap] @ kernels[tap][0, 0] for tap in kernels}
    for i, found in enumerate(strategy(outputs, {})):
        terms = []
        for a, b in (("C3", "C4"), ("C4", "C5")):
            ours = reference.relation(adapted[a][i], adapted[b][i])
            theirs = reference.relation(outputs["teacher"][a][i], outputs["teacher"][b][i])
            terms.append(np.mean((ours - theirs) ** 2))
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-3)


def test_the_students_relation_moves_to_the_sources():
    # The student's channels are unrelated, the source's rise together.
    earlier, later = tf.Variable(column(1, 2, 3, 4)), tf.constant(column(1, -1, -1, 1))
    goal = np.float32([[[1.0]]])
    before = relation(earlier, later)
    with tf.GradientTape() as tape:
        loss = relation_loss(earlier, later, goal)
    earlier.assign_sub(0.1 * tape.gradient(loss, earlier))
    after = relation(earlier, later)
    assert abs(float(before[0, 0, 0])) < 1e-5
    assert 0.01 < float(after[0, 0, 0]) < 1


@pytest.mark.parametrize("adapter", ["selected", "projected"])
def test_fixed_adapters_leave_the_students_channels_alone(adapter):
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = LayerRelation(adapter=adapter, pairs=(("C3", "C4"),))
    strategy.connect(ports)
    assert not strategy.trainable_variables
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    for i, found in enumerate(strategy(outputs, {})):
        maps = []
        # Widths 7 and 9 of the teacher, 4 and 5 of the student.
        for tap, chosen in (("C3", [0, 2, 4, 6]), ("C4", [0, 2, 4, 6, 8])):
            features = outputs["teacher"][tap][i]
            if adapter == "selected":
                maps.append(features[..., chosen])
            else:
                kernel = np.array(strategy.adapters[tap].kernel)[0, 0]
                np.testing.assert_allclose(kernel.T @ kernel, np.eye(len(chosen)), atol=1e-5)
                maps.append(reference.standardized(features) @ kernel)
        ours = reference.relation(outputs["student"]["C3"][i], outputs["student"]["C4"][i])
        assert float(found) == pytest.approx(np.mean((ours - reference.relation(*maps)) ** 2), rel=1e-3)


def test_a_wider_student_is_reduced():
    ports = {"teacher": fakes.port("student"), "student": fakes.port("teacher")}
    strategy = LayerRelation(adapter="selected", pairs=(("C3", "C4"),))
    strategy.connect(ports)
    ours, theirs = fakes.outputs(ports["student"]), fakes.outputs(ports["teacher"], seed=1)
    ours["C3"][..., [0, 2, 4, 6]], ours["C4"][..., [0, 2, 4, 6, 8]] = theirs["C3"], theirs["C4"]
    np.testing.assert_allclose(strategy({"teacher": theirs, "student": ours}, {}), 0, atol=1e-6)
