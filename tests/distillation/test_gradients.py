"""Gradients in two parts against those of one tape, and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection.precision import LayerPrecision
from mkd_tf.detectors.base import TAPS, tap_names
from mkd_tf.distillation.gradients import StepGradients, read_by_terms
from tests.distillation.test_distiller import detector


def by_hand():
    """A network with a tap and a head: tap = a x, class_logits = b tap; a = 3, b = 5, x = 2."""
    a, b = keras.Variable(3.0), keras.Variable(5.0)
    with tf.GradientTape(persistent=True) as networks:
        tap = tf.fill((1, 1, 1, 1), 2.0) * a
        made = {"student": {"p3": tap, "class_logits": tf.reshape(tap * b, (1, 1, 1))}}
    return a, b, made, networks


def test_by_hand():
    a, b, made, networks = by_hand()
    unused, adapter = keras.Variable(1.0), keras.Variable(7.0)
    with tf.GradientTape(persistent=True) as terms:
        terms.watch(made)
        task = tf.reduce_sum(made["student"]["class_logits"] ** 2)  # 30^2
        hint = tf.reduce_sum(made["student"]["p3"]) * adapter  # 6 * 7
        both, alone = task + hint, adapter * 2.0
        direct = task * a  # A term that reads a network's variable.
    back = StepGradients(made, made, networks, terms)
    # d task / d logits = 60, x b = 300 at the tap, x 2 = 600 for a; b gets 60 * 6.
    assert [float(tf.reduce_sum(g)) for g in back.at_taps("student", [task])] == [300.0]
    assert [float(tf.reduce_sum(g)) for g in back.at_taps("student", [hint])] == [7.0]
    assert [float(tf.reduce_sum(g)) for g in back.at_taps("student", [task, hint])] == [307.0]
    gradients = back.of(both, [a, b, adapter, unused])
    assert [None if g is None else float(g) for g in gradients] == [614.0, 360.0, 6.0, None]
    # 900 in the term itself, and 3 times what comes through the network.
    assert float(back.of(direct, [a])[0]) == 900.0 + 3 * 600.0
    assert [g if g is None else float(g) for g in back.of(alone, [a, adapter])] == [None, 2.0]


@pytest.mark.parametrize("is_graph", [False, True])
def test_against_one_tape(is_graph):
    network = detector()
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    variables = network.trainable_variables

    def terms_of(outputs):
        boxes = tf.reduce_mean(outputs["box_encodings"] ** 2)
        return [
            tf.reduce_mean(tf.sigmoid(outputs["class_logits"])) + boxes,
            tf.reduce_mean(outputs[TAPS[1]] ** 2),
        ]

    def in_two():
        with tf.GradientTape(persistent=True) as networks:
            made = {"student": dict(network(images, training=False))}
        read = read_by_terms(made)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(read)
            terms = terms_of(read["student"])
            total = sum(terms)
        back = StepGradients(made, read, networks, tape)
        return back.of(total, variables), [back.at_taps("student", [term]) for term in terms]

    def in_one():
        with tf.GradientTape(persistent=True) as tape:
            outputs = network(images, training=False)
            terms = terms_of(outputs)
            total = sum(terms)
        taps = [outputs[name] for name in tap_names(outputs)]
        zero = tf.UnconnectedGradients.ZERO
        at_taps = [tape.gradient(term, taps, unconnected_gradients=zero) for term in terms]
        return tape.gradient(total, variables), at_taps

    two, one = (tf.function(f, autograph=False)() if is_graph else f() for f in (in_two, in_one))
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(two), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)


def test_one_tensor_of_two_names_counts_once():
    a = keras.Variable(3.0)
    with tf.GradientTape(persistent=True) as networks:
        tap = tf.fill((1, 1, 1, 1), 2.0) * a
    made = {"student": {"C5": tap, "P5": tap}}
    read = read_by_terms(made)
    with tf.GradientTape(persistent=True) as terms:
        terms.watch(read)
        total = tf.reduce_sum(read["student"]["C5"] * 5.0)
    assert float(StepGradients(made, read, networks, terms).of(total, [a])[0]) == 10.0


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_taps_in_mixed_precision(precision):
    """A term that is read at the predictions reaches the taps, below what float16 holds too."""
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    found, trained = {}, detector().get_weights()
    for name in ("float32", precision):
        with LayerPrecision(name):
            network = detector()
        network.set_weights(trained)
        with tf.GradientTape(persistent=True) as networks:
            made = {"student": dict(network(images, training=False))}
        read = read_by_terms(made)
        with tf.GradientTape(persistent=True) as terms:
            terms.watch(read)
            outputs = read["student"]
            mean = 1e-7 * tf.reduce_mean(outputs["box_encodings"] ** 2 + outputs["class_logits"][..., :1])
        assert {x.dtype for x in outputs.values()} == {tf.float32}
        found[name] = StepGradients(made, read, networks, terms).at_taps("student", [mean])
    assert any(np.abs(g).max() > 0 for g in found["float32"])
    for exact, mixed in zip(found["float32"], found[precision], strict=True):
        assert mixed.dtype == tf.float32
        # A ReLU near 0 may be another one: their sizes are what the guard compares.
        np.testing.assert_allclose(np.linalg.norm(mixed), np.linalg.norm(exact), rtol=0.1)
