"""Losses of keras.distillation as strategies: Keras's own numbers, one example at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.distillation import DistillationLoss, FeatureDistillation, LogitsDistillation

from mkd_tf.checks import MkdError
from mkd_tf.strategies import SoftClasses
from mkd_tf.strategies.keras_losses import KerasDistillation, as_strategy
from tests.strategies import fakes


@keras.saving.register_keras_serializable("tests")
class BoxGap(DistillationLoss):
    """A user's own: it gets all outputs, and does not average over the batch."""

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return keras.ops.sum(
            keras.ops.square(teacher_outputs["box_encodings"] - student_outputs["box_encodings"])
        )

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def kl():
    return keras.losses.KLDivergence()


LOSSES = {
    "logits": lambda: LogitsDistillation(3.0, kl()),
    "logits_by_name": lambda: LogitsDistillation(2.0, {"class_logits": kl(), "box_logits": kl()}),
    "feature": lambda: FeatureDistillation("mse", "C4", "C4"),
    "feature_cosine": lambda: FeatureDistillation(keras.losses.CosineSimilarity(axis=-1), "P3", "P3"),
    "feature_sum": lambda: FeatureDistillation(keras.losses.MeanAbsoluteError(reduction="sum"), "C5", "C5"),
    "features": lambda: FeatureDistillation({"C3": "mse", "C4": keras.losses.Huber(), "C5": None}),
    "own": BoxGap,
}
each_loss = pytest.mark.parametrize("kind", list(LOSSES))


def scene(kind, batch=3):
    """A connected strategy between equal forms, and their outputs."""
    strategy = as_strategy(LOSSES[kind](), 4)
    port = fakes.port()
    strategy.connect({"teacher": port, "student": port})
    return strategy, {"teacher": fakes.outputs(port, batch, 0), "student": fakes.outputs(port, batch, 1)}


def read(loss, outputs):
    """What Keras's own distiller would hand to the loss."""
    name = getattr(loss, "teacher_layer_name", None)
    if name:
        return outputs[name]
    if isinstance(loss, BoxGap):
        return outputs
    return {k: outputs[k] for k in loss.loss} if isinstance(loss.loss, dict) else outputs["class_logits"]


@each_loss
def test_it_is_what_keras_says_of_one_example(kind):
    strategy, outputs = scene(kind)
    found = strategy(outputs, {})
    assert (found.shape, found.dtype) == ((3,), tf.float32)
    for i in range(3):
        one = tf.nest.map_structure(lambda x, i=i: x[i : i + 1], outputs)
        teacher, student = (read(strategy.loss, one[role]) for role in ("teacher", "student"))
        expected = float(strategy.loss.compute_loss(teacher, student))
        assert float(found[i]) == pytest.approx(expected, rel=1e-5)
        assert abs(expected) > 1e-3


def test_by_hand():
    strategy = as_strategy(FeatureDistillation("mse", "C4", "C4"), 0)
    port = fakes.port()
    strategy.connect({"teacher": port, "student": port})
    zeros = fakes.outputs(port, 2)
    shape = zeros["C4"].shape
    outputs = {"teacher": zeros | {"C4": np.zeros(shape, "float32")}}
    outputs["student"] = zeros | {"C4": np.ones(shape, "float32") * np.float32([2, 3]).reshape(2, 1, 1, 1)}
    np.testing.assert_allclose(strategy(outputs, {}), [4, 9], rtol=1e-6)


@each_loss
def test_its_mean_does_not_depend_on_replicas(kind):
    strategy, outputs = scene(kind, batch=4)
    parts = [tf.nest.map_structure(lambda x, h=h: x[h], outputs) for h in (slice(0, 1), slice(1, 4))]
    found = np.concatenate([strategy(part, {}) for part in parts])
    np.testing.assert_allclose(found, strategy(outputs, {}), rtol=1e-5)


@each_loss
def test_a_graph_of_any_batch_and_no_gradient_to_the_source(kind):
    strategy, outputs = scene(kind)
    watched = tf.nest.map_structure(tf.Variable, outputs)
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:])), outputs)
    graph = tf.function(lambda found: strategy(found, {}), input_signature=[signature])
    with tf.GradientTape() as tape:
        term = graph(tf.nest.map_structure(lambda v: v.read_value(), watched))
    np.testing.assert_allclose(term, strategy(outputs, {}), rtol=1e-5)
    for role, gradients in tape.gradient(term, watched).items():
        sizes = [np.abs(g).max() for g in gradients.values() if g is not None]
        assert (max(sizes, default=0) > 0) == (role == "student"), role


@pytest.mark.parametrize("kind", ["logits", "logits_by_name", "feature", "features", "own"])
def test_zero_when_the_student_agrees(kind):
    strategy, outputs = scene(kind)
    np.testing.assert_allclose(strategy(outputs | {"student": outputs["teacher"]}, {}), 0, atol=1e-5)


@each_loss
def test_extremes_stay_finite(kind):
    strategy, outputs = scene(kind)
    for a, b in ((0.0, 0.0), (50.0, -50.0), (-50.0, 50.0)):
        given = {
            role: {k: np.float32(f) * np.sign(x) for k, x in outputs[role].items()}
            for role, f in (("teacher", a), ("student", b))
        }
        student = tf.nest.map_structure(tf.Variable, given["student"])
        with tf.GradientTape() as tape:
            term = strategy(given | {"student": student}, {})
        assert np.isfinite(term).all()
        assert all(g is None or np.isfinite(g).all() for g in tape.gradient(term, student).values())


@each_loss
def test_its_configuration_makes_it_again(kind):
    strategy, outputs = scene(kind)
    strategy.rise, strategy.weight = 0.125, 3.0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(strategy))
    assert again.get_config() == strategy.get_config()
    assert (again.name, again.rise, again.weight) == (strategy.name, 0.125, 3.0)
    again.connect({"teacher": fakes.port(), "student": fakes.port()})
    np.testing.assert_allclose(again(outputs, {}), strategy(outputs, {}), rtol=1e-6)


def test_what_the_distiller_is_given():
    own = SoftClasses()
    assert as_strategy(own, 0) is own
    made = as_strategy(LogitsDistillation(3.0, kl()), 2)
    assert (made.name, made.weight, made.source, made.target) == (
        "LogitsDistillation_2",
        1.0,
        "teacher",
        "student",
    )
    with pytest.raises(MkdError, match=r"strategies\[1\]: expected a strategy or a loss .*, got str"):
        as_strategy("mse", 1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda: LogitsDistillation(), "expected loss=keras.losses.KLDivergence"),
        (lambda: LogitsDistillation(loss="kl_divergence"), "Pass the object"),
        (lambda: FeatureDistillation(), "expected teacher_layer_name and student_layer_name"),
        (lambda: FeatureDistillation("mse", "C4"), "got 'C4' and None"),
        (lambda: FeatureDistillation({"C4": "mse"}, "C4"), "expected teacher_layer_name"),
        (lambda: LogitsDistillation(loss=[kl(), None]), "expected one loss or a dict .*, got list"),
    ],
)
def test_what_would_not_be_clear_is_told(loss, message):
    with pytest.raises(MkdError, match=message):
        as_strategy(loss(), 0)


def test_other_shapes_are_told():
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = as_strategy(FeatureDistillation("mse", "C4", "C4"), 0)
    with pytest.raises(MkdError, match=r"outputs of one shape .*\(4, 4, 9\).* and .*\(4, 4, 5\)"):
        strategy.connect(ports)
    with pytest.raises(MkdError, match="taps of a strategy: expected some of C3.*got 'conv'"):
        as_strategy(FeatureDistillation("mse", "conv", "C4"), 0).connect(ports)


def test_the_softmax_of_one_class_is_told():
    port = fakes.port(num_classes=1)
    with pytest.raises(MkdError, match="two classes or more.*Use soft_classes"):
        KerasDistillation(LogitsDistillation(3.0, kl())).connect({"teacher": port, "student": port})


def test_each_network_has_a_name_of_its_own():
    # A teacher at twice the size has the student's P3 grid at its P4.
    ports = {"teacher": fakes.port("student", 128), "student": fakes.port()}
    strategy = as_strategy(FeatureDistillation("mse", "P4", "P3"), 0)
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    expected = np.square(outputs["teacher"]["P4"] - outputs["student"]["P3"]).mean((1, 2, 3))
    np.testing.assert_allclose(strategy(outputs, {}), expected, rtol=1e-5)
