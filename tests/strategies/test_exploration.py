"""Exploration: its parts against the reference and by hand, who learns, where the pull ends."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detectors import DETECTORS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import Exploration
from mkd_tf.strategies.exploration import alignment, explore_loss, split_width
from mkd_tf.strategies.moments import Channels
from tests import reference
from tests.strategies import fakes

ALL = {"inherit": 1.0, "explore": 1.0, "head": 1.0}
# The teacher's taps of the student's grids, by the teacher's input size.
PAIRS = {64: {"P3": "P3", "P4": "P4", "P5": "P5"}, 128: {"P3": "P4", "P4": "P5"}}


def connected(size=64, **arguments):
    """A strategy between a teacher at `size` and a student at 64 px, its outputs and targets."""
    keras.utils.set_random_seed(0)
    ports = {"teacher": fakes.port("teacher", size), "student": fakes.port()}
    strategy = Exploration(**(ALL | arguments))
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    for ours, theirs in PAIRS[size].items() if strategy.explore else ():
        # What explores begins with some of the teacher's factor: there is something to unlearn.
        mixed = np.array(strategy.projections["6_to_2"].kernel)[0, 0, :, 0]
        outputs["student"][ours][..., 2] += 2 * outputs["teacher"][theirs] @ mixed
    return strategy, outputs, {"student": fakes.targets(ports["student"])}


def part(scene, name, **student):
    """One part's value, with some of the student's outputs replaced."""
    strategy, outputs, targets = scene
    changed = outputs | {"student": outputs["student"] | student}
    return keras.ops.convert_to_numpy(strategy.parts(changed, targets)[name])


def column(*values):
    """A map of one channel, its cells in one row."""
    return np.float32(values).reshape(1, 1, -1, 1)


def joined(*maps):
    return np.concatenate(maps, axis=-1)


def channels(features):
    return Channels(np.float32(features).reshape(len(features), -1, features.shape[-1]))


def test_alignment_against_the_reference():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 2, (3, 4, 5, 2)), rng.normal(0, 1, (3, 4, 5, 3))
    theirs[1, ..., :2] += 2 * ours[1]
    (found,) = alignment(channels(ours), channels(theirs))
    expected = [reference.alignment(a, b) for a, b in zip(ours, theirs, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# Three channels of eight cells that have nothing to do with each other.
X, Y, Z = column(1, 1, 1, 1, -1, -1, -1, -1), column(1, 1, -1, -1, 1, 1, -1, -1), column(*[1, -1] * 4)


def test_alignment_by_hand():
    def of(ours, theirs):
        return float(alignment(channels(ours), channels(theirs))[0][0])

    assert of(X, 3 - 5 * X) == pytest.approx(1, abs=1e-5)
    assert of(X, Y) == pytest.approx(0, abs=1e-6)
    # Two channels of which one is shared: 1 / (sqrt 2 sqrt 2). In another order: the same.
    assert of(joined(X, Y), joined(X, Z)) == pytest.approx(0.5, abs=1e-5)
    assert of(joined(X, Y), joined(Z, X)) == pytest.approx(0.5, abs=1e-5)
    assert of(joined(X, Y), joined(Y, -X)) == pytest.approx(1, abs=1e-5)
    assert of(X, joined(X, Y)) == pytest.approx(1 / np.sqrt(2), abs=1e-5)


# Maps of 4 x 4 cells: the source's, and one that has nothing of it.
SOURCE = np.float32([[3, 1, 1, 0], [1, 2, 0, 0], [1, 0, 0, -1], [0, 0, -1, -1]])[None, :, :, None]
STRANGER = np.float32([[0, 1, -1, 0], [1, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0]])[None, :, :, None]


def explored(student, source=SOURCE):
    """The term, and its largest gradient."""
    student = tf.Variable(student)
    with tf.GradientTape() as tape:
        term = explore_loss(student, source)
    return float(term[0]), float(np.abs(tape.gradient(term, student)).max())


def chance_of(student, source):
    """Of maps `[h, w, c]`: the largest alignment with the source mirrored."""
    mirrored = (source[::-1], source[:, ::-1], source[::-1, ::-1])
    return max(reference.alignment(student, m) for m in mirrored)


def test_the_pull_ends_at_chance():
    chance = chance_of(SOURCE[0], SOURCE[0])
    assert 0.1 < chance < 0.9
    assert explored(SOURCE)[0] == pytest.approx(1 - chance, abs=1e-5)
    assert explored(SOURCE + STRANGER)[1] > 1e-3
    # Exactly zero, not almost: a constant, a mirror image, and less than chance.
    for independent in (np.zeros_like(SOURCE), SOURCE[:, ::-1], STRANGER - 0.1 * SOURCE[:, :, ::-1]):
        assert explored(independent) == (0, 0)
    # A symmetric source does not say where things are.
    symmetric = SOURCE + SOURCE[:, ::-1] + SOURCE[:, :, ::-1] + SOURCE[:, ::-1, ::-1]
    assert explored(symmetric, symmetric)[0] == pytest.approx(0, abs=1e-6)


def test_only_the_student_is_pulled():
    source = tf.Variable(SOURCE)
    with tf.GradientTape() as tape:
        term = explore_loss(SOURCE + STRANGER, source)
    assert float(term[0]) > 0
    assert tape.gradient(term, source) is None


def test_small_maps():
    # One row has one mirroring: 5, 3, 2, 1. One cell has none, and nothing to align.
    row = column(1, 2, 3, 5)
    mirrored = reference.alignment(row[0], row[0, :, ::-1])
    assert explored(row, row)[0] == pytest.approx(1 - mirrored, abs=1e-5)
    assert explored(column(3), column(3)) == (0, 0)


def test_it_is_led_to_independence_and_stays():
    student = tf.Variable(SOURCE + 0.5 * STRANGER)
    for _ in range(60):
        with tf.GradientTape() as tape:
            term = explore_loss(student, SOURCE)
        student.assign_sub(2 * tape.gradient(term, student))
    assert float(term[0]) == 0
    # What was not the source's is still there.
    assert float(alignment(channels(student.numpy()), channels(STRANGER))[0][0]) > 0.2


@pytest.mark.parametrize(
    ("channels", "fraction", "inheriting"),
    [(16, 0.5, 8), (16, 0.25, 4), (3, 0.5, 2), (2, 0.0, 1), (2, 1.0, 1), (5, 0.9, 4)],
)
def test_the_split(channels, fraction, inheriting):
    assert split_width(channels, fraction) == inheriting


@pytest.mark.parametrize("size", [64, 128])
def test_factors_against_the_reference(size):
    scene = connected(size)
    strategy, outputs, targets = scene
    starts = {"P3": (0, 8), "P4": (64, 4), "P5": (80, 2)}
    encoder = np.array(strategy.encoders["2_to_2"].kernel)[0, 0]
    projection = np.array(strategy.projections["6_to_2"].kernel)[0, 0]
    np.testing.assert_allclose(projection.T @ projection, np.eye(2), atol=1e-5)
    assert len(strategy.encoders) == len(strategy.projections) == 1, "levels of equal width share them"
    found = {name: part(scene, name) for name in ("inherit", "explore")}
    for i in range(2):
        inherit, explore = [], []
        for ours, theirs in PAIRS[size].items():
            start, side = starts[ours]
            labels = targets["student"]["labels"][i, start : start + side * side].reshape(side, side)
            student = outputs["student"][ours][i]
            factor = reference.standardized(outputs["teacher"][theirs][i]) @ projection
            weights = np.where(labels < 3, 1, 0.1)
            inherit.append(reference.hint(student[..., :2] @ encoder, factor, weights))
            explored = student[..., 2:] @ encoder[:1]
            explore.append(reference.alignment(explored, factor) - chance_of(explored, factor))
        assert found["inherit"][i] == pytest.approx(np.mean(inherit), rel=1e-3)
        assert max(explore) > 0.05
        assert found["explore"][i] == pytest.approx(np.mean(np.maximum(explore, 0)), rel=1e-3)


def test_each_part_moves_its_own_channels_and_variables():
    strategy, outputs, targets = connected()
    taps = {tap: tf.Variable(outputs["student"][tap]) for tap in strategy.taps}
    with tf.GradientTape(persistent=True) as tape:
        parts = strategy.parts(outputs | {"student": outputs["student"] | taps}, targets)
    encoder = strategy.encoders["2_to_2"].kernel
    for name, moved in (("inherit", slice(0, 2)), ("explore", slice(2, 3)), ("head", slice(2, 3))):
        for tap, variable in taps.items():
            gradient = np.abs(tape.gradient(parts[name], variable)).max(axis=(0, 1, 2))
            others = np.delete(gradient, np.arange(3)[moved])
            # On two by two cells a mirror image may be as near.
            assert (gradient[moved] > 0).all() or (name, tap) == ("explore", "P5"), (name, tap)
            assert (others == 0).all(), (name, tap)
        reached = tape.gradient(parts[name], encoder)
        assert (reached is not None and np.abs(reached).max() > 0) == (name == "inherit"), name
    fixed = strategy.projections["6_to_2"].kernel
    assert not any(fixed is v for v in strategy.trainable_variables)


def test_an_unpaired_level_takes_part_in_the_head_alone():
    scene = connected(128)
    strategy, outputs, _ = scene
    other = {
        "P5": outputs["student"]["P5"] + np.random.default_rng(0).normal(0, 1, (2, 2, 2, 3)).astype("float32")
    }
    for name, changes in (("inherit", False), ("explore", False), ("head", True)):
        assert np.array_equal(part(scene, name), part(scene, name, **other)) != changes, name
    assert len(strategy._pairs) == 2


@pytest.mark.parametrize("name", ALL)
def test_a_part_switched_off_costs_nothing(name):
    strategy, outputs, targets = connected(**{name: 0.0})
    assert set(strategy.parts(outputs, targets)) == set(ALL) - {name}
    alone, *_ = connected(**(dict.fromkeys(ALL, 0.0) | {name: 1.0}))
    count = {"inherit": 1, "explore": 0, "head": 6}
    assert len(alone.trainable_variables) == count[name]


def test_the_term_is_the_weighted_sum_of_its_parts():
    strategy, outputs, targets = connected(inherit=0.5, explore=2.0, head=0.25)
    parts = {k: np.array(v) for k, v in strategy.parts(outputs, targets).items()}
    expected = 0.5 * parts["inherit"] + 2 * parts["explore"] + 0.25 * parts["head"]
    np.testing.assert_allclose(strategy(outputs, targets), expected, rtol=1e-6)


def test_a_student_wider_than_its_teacher():
    ports = {"teacher": fakes.port("student"), "student": fakes.port("teacher")}
    strategy = Exploration(fraction=0.7)
    strategy.connect(ports)
    # Of 6 channels 4 inherit a factor of 3, and the encoder takes the wider part.
    assert strategy.encoders["4_to_3"].kernel.shape == (1, 1, 4, 3)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    assert np.isfinite(strategy(outputs, {"student": fakes.targets(fakes.port())})).all()


def test_a_narrower_part_takes_the_encoders_first_rows():
    scene = connected(fraction=0.3, explore=0.0, head=0.0)
    before, kernel = part(scene, "inherit"), scene[0].encoders["2_to_1"].kernel
    for row, changes in ((1, False), (0, True)):
        # Its sign: the size of a factor does not count.
        kernel.assign(kernel * np.where(np.arange(2) == row, -1.0, 1.0).reshape(1, 1, 2, 1))
        assert np.allclose(part(scene, "inherit"), before) != changes, row


def test_a_file_of_the_distiller_keeps_it_and_the_student_has_none_of_it(tmp_path):
    keras.utils.set_random_seed(0)
    small = "tiny(widths=(8, 8, 8, 8), pyramid=8, tower=0, block='plain')"
    student, teacher = (DETECTORS.build(small, image_size=64, class_names=("a", "b", "c")) for _ in range(2))
    before = [(v.path, v.shape) for v in student.variables]
    made = Distiller(student, teacher, strategies=[Exploration()])
    made.compile(optimizer=keras.optimizers.Adam(3e-3), run_eagerly=True)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    batch = {"images": images, "targets": {"student": fakes.targets(fakes.port())}}
    data = tf.data.Dataset.from_tensors(batch).repeat()
    made.fit(data, epochs=1, steps_per_epoch=2, shuffle=False, verbose=0)
    expected = made.evaluate(data, steps=1, verbose=0, return_dict=True)
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    again.run_eagerly = True
    for old, new in zip(made.strategies[0].variables, again.strategies[0].variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert again.evaluate(data, steps=1, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    assert [(v.path, v.shape) for v in student.variables] == before
    # An encoder, and the head's tower, classes and boxes.
    assert len(made.trainable_variables) == len(student.trainable_variables) + 1 + 6


def test_mistakes_are_told():
    with pytest.raises(MkdError, match="source of exploration: expected one of teacher, guide, got 'best'"):
        Exploration(source="best")
    with pytest.raises(MkdError, match="exploration: expected one of inherit, explore, head above 0"):
        Exploration(inherit=0, explore=0, head=0)
    for name, value in (
        ("inherit", -1),
        ("fraction", 1.5),
        ("background", 0),
        ("gamma", -1),
    ):
        with pytest.raises(MkdError, match=f"{name} of exploration: expected"):
            Exploration(**{name: value})
    with pytest.raises(MkdError, match="maps of at least 2 channels.* got 1"):
        split_width(1, 0.5)
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    with pytest.raises(
        MkdError, match="taps of exploration: expected one for each level of anchors, 64, 16, 4"
    ):
        Exploration(taps=("P3", "P4")).connect(ports)
    ports["teacher"] = fakes.port("teacher", num_classes=5)
    with pytest.raises(MkdError, match="strategy exploration: expected .* the 3 classes.*got .* 5 classes"):
        Exploration().connect(ports)
    Exploration(head=0.0).connect(ports)
