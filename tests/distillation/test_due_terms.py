"""Terms that act in some of a run's steps: what they cost, and that they count as often as they should."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import Strategy, hint
from tests.distillation.test_distiller import batch, detector, distiller, endless


class FirstLogit(Strategy):
    """Half of the square of the student's first logit, times a factor."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, outputs, targets):
        self.calls += 1
        return 0.5 * tf.square(outputs[self.target]["class_logits"][:, 0, 0])


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_a_term_in_some_of_the_steps(run_eagerly):
    """Every other step of the first half of eight, in which it counts twice."""
    student = detector()
    begin = student.get_weights()

    def step_of(strategies):
        made = Distiller(student, detector(seed=1), strategies=strategies, steps=8)
        made.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=run_eagerly, jit_compile=False)

        def step(at):
            student.set_weights(begin)
            made.optimizer.iterations.assign(at)
            logs = made.fit(endless(batch(64)), steps_per_epoch=1, verbose=0).history
            return [np.array(v) for v in student.trainable_variables], {n: v[0] for n, v in logs.items()}

        return step

    some = FirstLogit(weight=3.0, every=2, end=0.5, name="first")
    sometimes, twice, never = map(step_of, ([some], [FirstLogit(weight=6.0, name="first")], []))
    expected = {True: twice(0), False: never(0)}
    for at, is_due in ((0, True), (1, False), (2, True), (4, False)):
        calls = some.calls
        weights, logs = sometimes(at)
        for a, b in zip(expected[is_due][0], weights, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)
        assert float(logs["first"]) == pytest.approx(float(expected[is_due][1].get("first", 0.0)), rel=1e-5)
        assert float(logs["weight_first"]) == (3.0 if at < 4 else 0.0)
        assert not run_eagerly or some.calls - calls == is_due


@pytest.mark.parametrize(
    ("specs", "used", "run_eagerly"),
    [
        # The first steps of 8: the roles that compute.
        (
            ("soft_classes(every=2)", "soft_boxes(source='best', end=0.25)"),
            ["both", "both", "teacher", ""],
            True,
        ),
        # A hint's basis is measured in every step, three of them here.
        (
            ("soft_classes(end=0.25)", "hint(components=2, every=4)"),
            ["both", "both", "guide", "", "guide"],
            False,
        ),
    ],
)
def test_a_network_that_nothing_reads_in_a_step_is_skipped(specs, used, run_eagerly, monkeypatch):
    monkeypatch.setattr(hint, "OBSERVED", 3)
    made = distiller(specs=specs, steps=8)
    made.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=run_eagerly, jit_compile=False)
    calls = []
    for role in ("teacher", "guide"):
        network = getattr(made, role)

        def counted(*args, role=role, run=network.call, **kwargs):
            tf.py_function(lambda: calls.append(role), [], [])
            return run(*args, **kwargs)

        network.call = counted
    found = []
    for _ in used:
        calls.clear()
        made.fit(endless(batch()), steps_per_epoch=1, verbose=0)
        found.append("both" if len(calls) == 2 else "".join(calls))
    assert found == used
