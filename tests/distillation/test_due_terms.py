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


def weights_after_a_step(strategies, at, run_eagerly):
    """The student's weights after step `at` of 8, with no rate before; and what is logged of the term."""
    student = detector()
    made = Distiller(student, detector(seed=1), strategies=strategies, steps=8)
    made.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=run_eagerly, jit_compile=False)
    made.optimizer.iterations.assign(at)
    logs = made.fit(endless(batch(64)), steps_per_epoch=1, verbose=0).history
    return [np.array(v) for v in student.trainable_variables], {n: v[0] for n, v in logs.items()}


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize(
    ("step", "factor"),
    # Every other step of the first half, in which it counts twice.
    [(0, 2.0), (1, 0.0), (2, 2.0), (4, 0.0)],
)
def test_a_term_in_some_of_the_steps(step, factor, run_eagerly):
    some = FirstLogit(weight=3.0, every=2, end=0.5, name="first")
    found, logs = weights_after_a_step([some], step, run_eagerly)
    always = FirstLogit(weight=3.0 * factor, name="first")
    expected, whole = weights_after_a_step([always], step, run_eagerly)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)
    assert float(logs["first"]) == pytest.approx(float(whole.get("first", 0.0)), rel=1e-5)
    assert float(logs["weight_first"]) == (3.0 if step < 4 else 0.0)
    if run_eagerly:
        assert some.calls == (factor > 0)


@pytest.mark.parametrize(
    ("specs", "used"),
    [
        # Steps 0 to 5 of 8: the roles that compute.
        (("soft_classes(every=2)",), ["teacher", "", "teacher", "", "teacher", ""]),
        (("soft_classes(end=0.25)", "hint"), ["teacher guide", "teacher guide", *["guide"] * 4]),
        (("soft_classes(source='best', end=0.25)",), [*["teacher guide"] * 2, *[""] * 4]),
        # Its basis is measured in every step, three of them here.
        (("hint(components=2, every=4)",), ["guide", "guide", "guide", "", "guide", ""]),
    ],
)
@pytest.mark.parametrize("run_eagerly", [True, False])
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
        found.append(" ".join(sorted(calls, reverse=True)))
    assert found == used
