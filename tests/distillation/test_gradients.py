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
    outputs = made["student"]
    terms = {
        "task": lambda: outputs["class_logits"][:, 0, 0] ** 2,  # 30^2
        "hint": lambda: outputs["p3"][:, 0, 0, 0] * adapter,  # 6 * 7
        "alone": lambda: tf.reshape(adapter * 2.0, [1]),
        # A term that reads a network's variable.
        "direct": lambda: outputs["class_logits"][:, 0, 0] ** 2 * a,
    }
    back = StepGradients(made, made, networks, [a, b, adapter, unused])
    values = {}
    for name, compute in terms.items():
        values |= back.add((name,), lambda name=name, compute=compute: {name: compute()}, None)
    values |= back.add(("both", "too"), lambda: {"both": terms["task"](), "too": terms["hint"]()}, None)
    assert {name: float(v[0]) for name, v in values.items()} == {
        "task": 900, "hint": 42, "alone": 14, "direct": 2700, "both": 900, "too": 42,
    }  # fmt: skip

    def at_taps(*group):
        return [float(tf.reduce_sum(g)) for g in back.at_taps("student", group)]

    def of(**weights):
        given = {group: weights.get(group[0], 0.0) for group in back.groups}
        return [None if g is None else float(g) for g in back.of(given)]

    # d task / d logits = 60, x b = 300 at the tap, x 2 = 600 for a; b gets 60 * 6.
    assert at_taps("task") == [300.0]
    assert at_taps("hint") == [7.0]
    assert at_taps("both", "too") == [307.0]
    assert of(both=1.0) == [614.0, 360.0, 6.0, None]
    assert of(task=1.0, hint=0.5) == [607.0, 360.0, 3.0, None]
    # 900 in the term itself, and 3 times what comes through the network.
    assert of(direct=1.0)[0] == 900.0 + 3 * 600.0
    assert of(alone=1.0) == [0.0, 0.0, 2.0, None]


def test_of_a_term_alone():
    a, _, made, networks = by_hand()
    adapter = keras.Variable(7.0)
    back = StepGradients(made, made, networks, [a, adapter])
    back.add(("alone",), lambda: {"alone": tf.reshape(adapter * 2.0, [1])}, None)
    assert [g if g is None else float(g) for g in back.of({("alone",): 1.0})] == [None, 2.0]


@pytest.mark.parametrize("is_graph", [False, True])
def test_a_group_that_is_not_due_costs_nothing(is_graph):
    a, b, made, networks = by_hand()
    calls = []

    def computed(x):
        tf.py_function(lambda: calls.append(1), [], [])
        return x

    def step(is_due):
        back = StepGradients(made, made, networks, [a, b, scale])
        term = back.add(
            ("term",), lambda: {"term": computed(made["student"]["class_logits"][:, 0, 0] * scale)}, is_due
        )
        return term["term"], back.of({("term",): 1.0}), back.at_taps("student", ("term",))

    scale = keras.Variable(2.0)
    run = tf.function(step, autograph=False) if is_graph else step
    term, gradients, at_taps = run(tf.constant(True))
    # 30 x 2; through b = 5 and the image's 2: 20 for a, 6 x 2 for b, 30 for the scale.
    assert (float(term[0]), [float(g) for g in gradients]) == (60.0, [20.0, 12.0, 30.0])
    assert (float(tf.reduce_sum(at_taps[0])), len(calls)) == (10.0, 1)
    term, gradients, at_taps = run(tf.constant(False))
    assert (float(term[0]), [0.0 if g is None else float(g) for g in gradients]) == (0.0, [0.0] * 3)
    assert (float(tf.reduce_sum(at_taps[0])), len(calls)) == (0.0, 1)


@pytest.mark.parametrize("is_graph", [False, True])
def test_against_one_tape(is_graph):
    network = detector()
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    variables = network.trainable_variables

    def terms_of(outputs):
        boxes = tf.reduce_mean(outputs["box_encodings"] ** 2, axis=(1, 2))
        return {
            "boxes": tf.reduce_mean(tf.sigmoid(outputs["class_logits"]), axis=(1, 2)) + boxes,
            "tap": tf.reduce_mean(outputs[TAPS[1]] ** 2, axis=(1, 2, 3)),
        }

    def in_two():
        with tf.GradientTape(persistent=True) as networks:
            made = {"student": dict(network(images, training=False))}
        read = read_by_terms(made)
        back = StepGradients(made, read, networks, variables)
        for name in ("boxes", "tap"):
            # Within a condition, whose gradients are those of its way.
            back.add((name,), lambda name=name: {name: terms_of(read["student"])[name]}, tf.constant(True))
        weights = dict.fromkeys(back.groups, 1.0)
        return back.of(weights), [back.at_taps("student", group) for group in back.groups]

    def in_one():
        with tf.GradientTape(persistent=True) as tape:
            outputs = network(images, training=False)
            terms = [tf.reduce_mean(term) for term in terms_of(outputs).values()]
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
    back = StepGradients(made, read, networks, [a])
    back.add(("c5",), lambda: {"c5": read["student"]["C5"][:, 0, 0, 0] * 5.0}, None)
    assert float(back.of({("c5",): 1.0})[0]) == 10.0


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
        outputs = read["student"]
        assert {x.dtype for x in outputs.values()} == {tf.float32}

        def term(outputs=outputs):
            both = outputs["box_encodings"] ** 2 + outputs["class_logits"][..., :1]
            return {"term": 1e-7 * tf.reduce_mean(both, axis=(1, 2))}

        back = StepGradients(made, read, networks, [])
        back.add(("term",), term, None)
        found[name] = back.at_taps("student", ("term",))
    assert any(np.abs(g).max() > 0 for g in found["float32"])
    for exact, mixed in zip(found["float32"], found[precision], strict=True):
        assert mixed.dtype == tf.float32
        # A ReLU near 0 may be another one: their sizes are what the guard compares.
        np.testing.assert_allclose(np.linalg.norm(mixed), np.linalg.norm(exact), rtol=0.1)
