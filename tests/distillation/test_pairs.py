"""Every strategy, alone and with all others, between every pair of detector families.

A family joins by being in DETECTORS, a strategy by being in STRATEGIES. Steps run
eagerly: compiling one for each pair would take a minute of every one of them.
"""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detectors import DETECTORS, adapt
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.optimizers import FusedAdamW
from mkd_tf.distillation.outputs import outputs_of
from mkd_tf.strategies import STRATEGIES
from tests import harness
from tests.strategies import fakes

# Small forms, the teacher's wider than the student's; with bins, which `localization` compares.
FORMS = {
    "tiny": ("tiny(size='guide', bins=8)", "tiny(bins=8)"),
    "resnet": ("resnet(width=0.25, pyramid=24, bins=8)", "resnet(width=0.125, pyramid=16, bins=8)"),
    "mobilenet_v2": ("mobilenet_v2(pyramid=24, bins=8)", "mobilenet_v2(pyramid=16, bins=8)"),
    "efficientnet_lite": tuple(
        f"efficientnet_lite(width={width}, pyramid={pyramid}, bins=8)"
        for width, pyramid in ((0.5, 24), (0.25, 16))
    ),
}
FAMILIES = {name: FORMS.get(name, (f"{name}(bins=8)",) * 2) for name in DETECTORS}
PAIRS = [(teacher, student) for teacher in ("adapted", *FAMILIES) for student in FAMILIES]
PAIRS = [p for p in PAIRS if p[0] != "adapted" or p[1] == "tiny"]
each_pair = pytest.mark.parametrize("pair", PAIRS, ids="-".join)
# Every family once as a teacher and once as a student.
some_pairs = pytest.mark.parametrize(
    "pair",
    [p for i, p in enumerate(PAIRS) if p[0] == "adapted" or i % (len(FAMILIES) + 1) == 1],
    ids="-".join,
)
SPECS = {name: f"{name}(source='teacher')" for name in STRATEGIES}
TASK = ("class", "box")
RATE = 3e-3


@functools.cache
def teacher_of(family):
    """A teacher whose batch norms and biases are as after training."""
    if family != "adapted":
        return harness.shake(harness.build(FAMILIES[family][0], seed=1))
    core = harness.shake(harness.build(FAMILIES["tiny"][0], seed=1)).core
    names = ("box_logits", *fakes.TAPS)
    return adapt(
        core,
        anchors=fakes.port().anchors,
        class_names=("class0", "class1", "class2"),
        taps={name: core.output[name] for name in names},
        scale=1 / 127.5,
        offset=-1.0,
    )


@functools.cache
def student_of(family):
    """A student, and the weights it begins with."""
    student = harness.shake(harness.build(FAMILIES[family][1], seed=2), seed=3)
    return student, student.get_weights()


def batch(known=1.0):
    """Two images with their targets; with `known` 0 nobody looked for objects."""
    targets = {name: tf.constant(value) for name, value in fakes.targets(fakes.port()).items()}
    targets["known"] *= known
    targets["weights"] *= known
    return {"images": tf.constant(harness.random_images(2)), "targets": {"student": targets}}


def distiller(pair, specs):
    """A new distiller of the pair's networks, the student at its beginning."""
    teacher, (student, weights) = teacher_of(pair[0]), student_of(pair[1])
    student.set_weights(weights)
    keras.utils.set_random_seed(0)
    made = Distiller(student, teacher, strategies=[STRATEGIES.build(spec) for spec in specs])
    # Of a run; one operation a variable, which eager steps feel.
    made.compile(optimizer=FusedAdamW(RATE, weight_decay=0.0), run_eagerly=True)
    return made


def total_of(made, data):
    """The total of a batch as a step in training mode sees it, without the step."""
    outputs = made.answers(data) | outputs_of({"student": made.student}, data["images"], training=True)
    terms, weights = made.objective.terms(outputs, data["targets"]), made.objective.weights(made.progress())
    return sum(float(weights[name] * tf.reduce_mean(term)) for name, term in terms.items())


def trained(made, data, steps):
    """The terms of each step, `{name: [steps]}`."""
    rows = []
    for _ in range(steps):
        made.reset_metrics()
        rows.append({name: float(value) for name, value in made.train_step(data).items()})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@contextlib.contextmanager
def counted(**layers):
    """Counts the calls of layers by the names they are given here."""
    count = dict.fromkeys(layers, 0)
    for name, layer in layers.items():

        def call(*args, name=name, run=layer.call, **kwargs):
            count[name] += 1
            return run(*args, **kwargs)

        layer.call = call
    try:
        yield count
    finally:
        for layer in layers.values():
            del layer.call


def snapshot(network):
    return [np.array(v) for v in network.variables]


@pytest.mark.slow
@each_pair
def test_all_together(pair):
    made, data = distiller(pair, SPECS.values()), batch()
    before = snapshot(made.teacher)
    adapters = [v for s in made.strategies for v in s.trainable_variables]
    untrained = [np.array(v) for v in adapters]
    history = trained(made, data, steps=1)
    assert all(np.isfinite(values).all() for values in history.values()), history
    np.testing.assert_allclose(history["total"], sum(history[n] for n in (*TASK, *STRATEGIES)), rtol=1e-4)
    # Not every term: its teacher and the labels contradict each other here.
    assert total_of(made, data) < history["total"][0]
    for name in STRATEGIES:
        assert history[f"share_{name}"][0] > 0, f"{name} asks nothing of the student"
    for a, b in zip(before, snapshot(made.teacher), strict=True):
        np.testing.assert_array_equal(a, b)
    for old, variable in zip(untrained, adapters, strict=True):
        assert not np.array_equal(old, variable), f"{variable.path} never moved"


@pytest.mark.slow
@some_pairs
def test_a_step_along_one_terms_gradient_lowers_it(pair):
    """Each strategy alone moves the student's own weights to where its term is lower."""
    made, data = distiller(pair, SPECS.values()), batch()
    student, known = made.student, {"teacher": made.teacher(data["images"], training=False)}

    def means():
        # In training mode, where batch norms are what they are in a step.
        outputs = known | {"student": student(data["images"], training=True)}
        return {s.name: tf.reduce_mean(s(outputs, data["targets"])) for s in made.strategies}

    with tf.GradientTape(persistent=True) as tape:
        before = means()
    beginning = [tf.identity(v) for v in student.trainable_variables]
    for strategy in made.strategies:
        name = strategy.name
        gradients = tape.gradient(before[name], student.trainable_variables)
        reached = [
            (v, g) for v, g in zip(student.trainable_variables, gradients, strict=True) if g is not None
        ]
        assert all(np.isfinite(g).all() for _, g in reached), name
        assert reached[0][0] is student.trainable_variables[0], f"{name} does not reach the first layer"
        square = sum(tf.reduce_sum(tf.square(g)) for _, g in reached)
        assert square > 0, name
        for variable, gradient in reached:
            # As far as lowers the term by 0.1 %, were it a straight line. Further on, batch norms
            # over the few cells of the coarsest level bend it.
            variable.assign_sub(0.001 * before[name] / square * gradient)
        outputs = known | {"student": student(data["images"], training=True)}
        after = tf.reduce_mean(strategy(outputs, data["targets"]))
        assert 0.0003 < 1 - after / before[name] < 0.003, (name, float(before[name]), float(after))
        for variable, value in zip(student.trainable_variables, beginning, strict=True):
            variable.assign(value)
    assert all(g is None for g in tape.gradient(list(before.values()), made.teacher.trainable_variables))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_each_alone(name):
    """On images of which nothing is known, where no label contradicts the teacher."""
    made = distiller(("tiny", "tiny"), [SPECS[name]])
    with counted(teacher=made.teacher, student=made.student) as calls:
        history = trained(made, batch(known=0.0), steps=2)
    assert calls == {"teacher": 2, "student": 2}
    assert set(history) == {
        "loss",
        "total",
        *TASK,
        name,
        *(f"{kind}_{name}" for kind in ("raw", "weight", "share")),
    }
    assert all(np.isfinite(values).all() for term, values in history.items() if "share" not in term), history
    np.testing.assert_array_equal([history[term] for term in TASK], 0)
    assert history[name][1] < history[name][0]


@pytest.mark.parametrize("name", SPECS)
def test_a_weight_of_zero_costs_nothing(name):
    teacher, (student, _) = teacher_of("tiny"), student_of("tiny")
    off = STRATEGIES.build(f"{name}(source='teacher', weight=0)")
    on = STRATEGIES.build("soft_boxes(source='guide', name='other')")
    made = Distiller(student, teacher, harness.build(FAMILIES["tiny"][1], seed=4), [off, on])
    made.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    networks = {"teacher": made.teacher, "guide": made.guide, "student": made.student}
    with counted(**networks, off=off, on=on) as calls:
        history = trained(made, batch(), steps=1)
    assert calls == {"teacher": 0, "guide": 1, "student": 1, "off": 0, "on": 1}
    assert set(history) == {"loss", "total", *TASK, "other", "raw_other", "weight_other", "share_other"}
    assert {id(v) for v in made.trainable_variables} == {id(v) for v in student.trainable_variables}
