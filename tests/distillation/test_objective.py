"""The task against the reference, and the one sum of terms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detection.boxes import encode
from mkd_tf.detection.losses import distribution_focal
from mkd_tf.distillation.balance import Balance
from mkd_tf.distillation.objective import Objective
from mkd_tf.distillation.task import DetectionTask
from mkd_tf.strategies import AttentionMap, SoftClasses, Strategy
from tests import reference
from tests.strategies import fakes

PORT = fakes.port()
ANCHORS = PORT.anchors
TASK = DetectionTask()


def scene(batch=2, seed=0):
    outputs = fakes.outputs(PORT, batch, seed)
    outputs.pop("box_logits")  # The plain head; the test of distributions has them.
    return outputs | {"box_encodings": outputs["box_encodings"] * 2}, dict(fakes.targets(PORT, batch, seed))


def example(values, i):
    return {name: value[i : i + 1] for name, value in values.items()}


class Constant(Strategy):
    """A term of fixed size that counts its calls."""

    def __init__(self, size=1.0, **kwargs):
        super().__init__(**kwargs)
        self.size, self.calls = size, 0

    def call(self, outputs, targets):
        self.calls += 1
        return self.size * keras.ops.ones(outputs[self.target]["class_logits"].shape[0])


@pytest.mark.parametrize("beta", [0, 1, 2])
def test_the_task_against_the_reference(beta):
    outputs, targets = scene()
    found = DetectionTask(beta, 3.0).terms(outputs, targets, ANCHORS)
    assert list(found) == ["class", "box"]
    for i in range(2):
        expected = reference.task(
            outputs["class_logits"][i],
            outputs["box_encodings"][i],
            {name: value[i] for name, value in targets.items()},
            ANCHORS.centers_and_sizes(),
            beta,
            box_weight=3.0,
        )
        np.testing.assert_allclose([found["class"][i], found["box"][i]], expected, rtol=1e-4)


def test_distributions_of_boxes_join_the_box_term():
    outputs, targets = scene()
    logits = fakes.outputs(PORT)["box_logits"]
    plain = TASK.terms(outputs, targets, ANCHORS)
    found = TASK.terms(outputs | {"box_logits": logits}, targets, ANCHORS)
    np.testing.assert_array_equal(found["class"], plain["class"])
    truth = keras.ops.convert_to_numpy(encode(targets["boxes"], ANCHORS.centers_and_sizes()))
    focal = keras.ops.convert_to_numpy(distribution_focal(truth, logits))
    weights = targets["weights"]
    expected = 0.25 * (focal * weights).sum(1) / np.maximum(weights.sum(1), 1)
    assert (expected > 0.01).all()
    np.testing.assert_allclose(found["box"] - plain["box"], expected, rtol=1e-3)


def test_a_perfect_answer_costs_nothing():
    outputs, targets = scene()
    hot = (np.arange(3) == targets["labels"][..., None]) & (targets["weights"][..., None] == 1)
    exact = {
        "class_logits": np.where(hot, 40.0, -40.0).astype("float32"),
        "box_encodings": keras.ops.convert_to_numpy(encode(targets["boxes"], ANCHORS.centers_and_sizes())),
    }
    targets = targets | {"weights": np.where(targets["weights"] == 1, 1, 0).astype("float32")}
    found = TASK.terms(exact, targets, ANCHORS)
    np.testing.assert_allclose(found["class"], 0, atol=1e-4)
    np.testing.assert_allclose(found["box"], 0, atol=1e-3)


def test_the_class_target_of_a_teachers_box_is_its_score_times_the_overlap():
    # A logit may stop where its gradient is zero: at weight * IoU. Boxes are exact here.
    outputs, targets = scene()
    positive = targets["weights"] == 0.5
    assert positive.any()
    outputs["box_encodings"] = keras.ops.convert_to_numpy(
        encode(targets["boxes"], ANCHORS.centers_and_sizes())
    )
    outputs["class_logits"] = np.zeros_like(outputs["class_logits"])  # Probability 1/2.
    logits = tf.Variable(outputs["class_logits"])
    with tf.GradientTape() as tape:
        found = TASK.terms(outputs | {"class_logits": logits}, targets, ANCHORS)
    gradient = tape.gradient(found["class"], logits).numpy()
    hot = np.arange(3) == targets["labels"][..., None]
    np.testing.assert_allclose(gradient[positive][hot[positive]], 0, atol=1e-3)
    assert (gradient[~hot] > 0).all()
    assert (gradient[hot & (targets["weights"] == 1)[..., None]] < 0).all()


def test_the_overlap_in_the_class_target_teaches_no_box():
    outputs, targets = scene()
    encodings = tf.Variable(outputs["box_encodings"])
    with tf.GradientTape() as tape:
        found = TASK.terms(outputs | {"box_encodings": encodings}, targets, ANCHORS)["class"]
    assert tape.gradient(found, encodings) is None


def test_an_unlabelled_image_has_no_task():
    outputs, targets = scene()
    labelled = TASK.terms(outputs, targets, ANCHORS)
    targets["known"] = np.float32([0, 1])
    targets["weights"] = targets["weights"] * targets["known"][:, None]
    found = TASK.terms(outputs, targets, ANCHORS)
    assert float(found["class"][0]) == float(found["box"][0]) == 0
    for name in found:
        assert float(found[name][1]) == float(labelled[name][1]) > 0


def test_examples_are_normalized_alone():
    outputs, targets = scene(batch=3)
    together = TASK.terms(outputs, targets, ANCHORS)
    for i in range(3):
        alone = TASK.terms(example(outputs, i), example(targets, i), ANCHORS)
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][i], rtol=1e-5)


def test_the_task_keeps_its_size_with_the_images():
    outputs, targets = scene()
    large = fakes.port("student", 128)
    columns = {k: v[..., None] if v.ndim == 2 else v for k, v in targets.items() if k != "known"}
    # Where each anchor's box lies from its own anchor is kept, in each of the four copies.
    columns["boxes"] = columns["boxes"] - ANCHORS.boxes
    tiled = fakes.tiled(columns, PORT)
    boxes = tiled["boxes"] + large.anchors.boxes
    four = {k: tiled[k][..., 0] for k in ("labels", "weights")} | {"boxes": boxes, "known": targets["known"]}
    found = TASK.terms(fakes.tiled(outputs, PORT), four, large.anchors)
    expected = TASK.terms(outputs, targets, ANCHORS)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3)


def test_a_gradient_step_helps_both_terms():
    outputs, targets = scene()
    watched = {k: tf.Variable(outputs[k]) for k in ("class_logits", "box_encodings")}
    with tf.GradientTape(persistent=True) as tape:
        before = TASK.terms(watched, targets, ANCHORS)
    for name, key in (("class", "class_logits"), ("box", "box_encodings")):
        gradient = tape.gradient(before[name], watched[key])
        moved = watched | {key: watched[key] - 1e-2 * gradient}
        after = TASK.terms(moved, targets, ANCHORS)
        assert (after[name] < before[name]).numpy().all()


@pytest.mark.parametrize("logit", [-50.0, 50.0])
@pytest.mark.parametrize("encoding", [-1e4, 1e4])
def test_extremes_stay_finite(logit, encoding):
    _, targets = scene()
    outputs = {
        "class_logits": tf.Variable(np.full((2, 84, 3), logit, "float32")),
        "box_encodings": tf.Variable(np.full((2, 84, 4), encoding, "float32")),
    }
    with tf.GradientTape() as tape:
        found = DetectionTask(2.0, 2.0).terms(outputs, targets, ANCHORS)
        total = found["class"] + found["box"]
    for value in [total, *tape.gradient(total, list(outputs.values()))]:
        assert np.isfinite(value).all()


def connected(*strategies):
    objective = Objective(strategies=strategies)
    objective.connect({"teacher": fakes.port("teacher"), "student": PORT}, ["student"])
    return objective


def weighted(objective, progress=0.5):
    """Every term times its weight."""
    outputs, targets = scene()
    outputs = {"student": outputs, "teacher": fakes.outputs(fakes.port("teacher"), seed=1)}
    weights = objective.weights(keras.ops.convert_to_tensor(progress))
    return {
        name: weights[name] * term for name, term in objective.terms(outputs, {"student": targets}).items()
    }


def test_every_term_is_reported_under_its_name():
    objective = connected(SoftClasses(weight=2.0), AttentionMap(weight=0.5, name="look"))
    terms = weighted(objective)
    assert objective.task_names == ("class", "box")
    assert tuple(terms) == ("class", "box", "soft_classes", "look")
    plain = weighted(connected(SoftClasses(), AttentionMap(name="look")))
    np.testing.assert_allclose(terms["soft_classes"], 2 * plain["soft_classes"], rtol=1e-6)
    np.testing.assert_allclose(terms["look"], 0.5 * plain["look"], rtol=1e-6)
    np.testing.assert_array_equal(terms["class"], plain["class"])


def test_a_weight_of_zero_costs_nothing():
    off, on = Constant(weight=0.0, name="off"), Constant(name="on")
    terms = weighted(connected(off, on))
    assert (off.calls, on.calls) == (0, 1)
    assert "off" not in terms


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.0), (0.1, 0.5), (0.5, 1.0), (0.8, 0.5), (1.0, 0.0)])
def test_ramps_scale_their_strategy_alone(progress, factor):
    ramped, steady = (
        Constant(3.0, rise=0.2, fall=0.4, weight=2.0, name="ramped"),
        Constant(5.0, name="steady"),
    )
    terms = weighted(connected(ramped, steady), progress)
    np.testing.assert_allclose(terms["ramped"], 6 * factor, rtol=1e-5)
    np.testing.assert_allclose(terms["steady"], 5)
    np.testing.assert_allclose(terms["box"], weighted(connected())["box"])


def test_a_phase_limits_its_strategy_alone():
    strategies = Constant(weight=2.0, end=0.8, name="early"), Constant(name="steady")
    objective = Objective(strategies=strategies, balance=Balance(steps=10))
    objective.connect({"teacher": fakes.port("teacher"), "student": PORT}, ["student"])
    found = [objective.weights(keras.ops.convert_to_tensor(p)) for p in (0.79, 0.8)]
    assert [(float(w["early"]), float(w["steady"]), w["class"]) for w in found] == [(2, 1, 1), (0, 1, 1)]


@pytest.mark.parametrize(
    ("mode", "computed"),
    [
        # Steps 0 to 39 of 40: from 0.25 of the run on it counts in every fourth step, until 0.75.
        ("fixed", {12, 16, 20, 24, 28}),
        # Every 20th step measures its gradient, from before its phase.
        ("gradient_share", {0, 12, 16, 20, 24, 28}),
        # So does the window for the means: steps 4 and 5.
        ("calibrated", {0, 1, 2, 3, 4, 5, 12, 16, 20, 24, 28}),
    ],
)
def test_the_steps_that_compute_a_term(mode, computed):
    early = Constant(start=0.25, end=0.75, every=4, name="early")
    objective = Objective(strategies=[early, Constant(name="steady")], balance=Balance(mode, steps=40))
    objective.connect({"teacher": fakes.port("teacher"), "student": PORT}, ["student"])
    due = {i for i in range(40) if objective.due(tf.constant(i), tf.constant(i / 40))["early"]}
    assert due == computed
    assert set(objective.due(tf.constant(0), tf.constant(0.0))) == {"early"}
    counts = [objective.counts(tf.constant(i)) for i in range(5)]
    assert [float(c["early"]) for c in counts] == [4, 0, 0, 0, 4]
    assert {float(c[name]) for c in counts for name in ("class", "box", "steady")} == {1}


def test_a_phase_of_a_run_of_unknown_length_is_told():
    with pytest.raises(
        MkdError, match="start and end of early: expected a run of known length, got steps=None"
    ):
        connected(Constant(end=0.8, name="early"))


def test_ignored_locations_take_no_part_in_the_class_term_alone():
    outputs, targets = scene()
    ignored = np.float32(np.random.default_rng(0).uniform(size=targets["weights"].shape) < 0.4)
    ignored *= targets["weights"] == 0
    logits = keras.ops.convert_to_tensor(outputs["class_logits"])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = TASK.terms(outputs | {"class_logits": logits}, targets | {"ignored": ignored}, ANCHORS)
    gradient = tape.gradient(found["class"], logits).numpy()
    np.testing.assert_array_equal(np.abs(gradient).sum(axis=-1) == 0, ignored == 1)
    # A background that nobody takes for anything has no loss either.
    sure = np.where(ignored[..., None] == 1, np.float32(-100), outputs["class_logits"])
    plain = TASK.terms(outputs | {"class_logits": sure}, targets, ANCHORS)
    for name in ("class", "box"):
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-5)
    none = TASK.terms(outputs, targets | {"ignored": np.zeros_like(ignored)}, ANCHORS)
    before = TASK.terms(outputs, targets, ANCHORS)
    for name in ("class", "box"):
        np.testing.assert_array_equal(none[name], before[name])
