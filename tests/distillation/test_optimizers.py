"""AdamW by part, against a slow AdamW; nothing changes without a slow part; what a file keeps."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.optimizers import FusedAdamW, PartwiseAdamW, adamw
from mkd_tf.distillation.schedules import WarmupCosine
from tests.distillation.test_distiller import batch, detector, endless

DECAY, PEAK, STEPS = 0.5, 0.1, 6


def schedule():
    return WarmupCosine(PEAK, STEPS, 2)


def variables(dtype=None):
    """A backbone's kernel and bias, and a head's."""
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=3), name=name, dtype=dtype)
        for name in ("kernel", "bias", "kernel", "bias")
    ]


def adamw_slowly(values, gradients, rates, factors, decays):
    """Loshchilov and Hutter, Algorithm 2: the decay is a share of each variable's own rate."""
    m = [np.zeros(3) for _ in values]
    v = [np.zeros(3) for _ in values]
    for t, (row, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for i, g in enumerate(row):
            own = rate * factors[i]
            if decays[i]:
                values[i] = values[i] - own * DECAY * values[i]
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            values[i] = values[i] - own * (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-7)
    return values


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_slow_part_against_a_slow_computation(scale):
    rng, ours = np.random.default_rng(1), variables()
    expected = [np.array(x, "float64") for x in map(keras.ops.convert_to_numpy, ours)]
    gradients = rng.normal(size=(STEPS, 4, 3)).astype("float32")
    optimizer = adamw(schedule(), ours, ours[:2], scale, weight_decay=DECAY)
    assert type(optimizer) is (FusedAdamW if scale == 1 else PartwiseAdamW)
    for row in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in row], ours)
    rates = [float(schedule()(step)) for step in range(STEPS)]
    wanted = adamw_slowly(expected, gradients, rates, (scale, scale, 1, 1), (True, False) * 2)
    for a, b in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(a), b, rtol=2e-4, atol=1e-6)


def test_the_first_step_by_hand():
    """Adam's first step is the rate, whatever the gradient: a tenth of it for the slow part."""
    ours = variables()
    before = [keras.ops.convert_to_numpy(v).copy() for v in ours]
    optimizer = adamw(0.01, ours, ours[:2], 0.1, weight_decay=0.0)
    optimizer.apply([keras.ops.full((3,), 5.0) for _ in ours], ours)
    moved = [float((b - keras.ops.convert_to_numpy(v))[0]) for b, v in zip(before, ours, strict=True)]
    np.testing.assert_allclose(moved, [0.001, 0.001, 0.01, 0.01], rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("is_graph", [False, True])
def test_one_operation_a_variable_is_a_step_of_keras(options, is_graph):
    """A column of a table that a gather reads has a sparse gradient."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(STEPS, 4, 3)).astype("float32") * 5.0
    found = []
    for kind in (FusedAdamW, keras.optimizers.AdamW):
        ours = variables("float32")
        optimizer = kind(
            schedule(), weight_decay=DECAY, global_clipnorm=1.0, beta_2=0.9, epsilon=1e-3, **options
        )
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        optimizer.build(ours)

        def step(row, ours, optimizer):
            sparse = tf.IndexedSlices(row[0, :2], tf.constant([0, 2]), tf.constant([3]))
            optimizer.apply([sparse if options == {} else row[0], row[1], row[2], row[3]], ours)

        call = functools.partial(step, ours=ours, optimizer=optimizer)
        call = tf.function(lambda row, call=call: call(row)) if is_graph else call
        for row in rows:
            call(tf.constant(row))
        found.append([keras.ops.convert_to_numpy(v) for v in (*ours, *optimizer.variables[2:])])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-7)


def test_a_rate_is_asked_for_once_a_step():
    asked = []

    class Counted(WarmupCosine):
        def __call__(self, step):
            asked.append(step)
            return super().__call__(step)

    ours = variables()
    optimizer = adamw(Counted(PEAK, STEPS, 2), ours, weight_decay=DECAY)
    optimizer.apply([keras.ops.ones(3) for _ in ours], ours)
    assert len(asked) == 1


def test_a_file_of_a_distiller_keeps_the_parts(tmp_path):
    """Saved after a step and loaded, it goes on as if nothing had happened, to the last bit."""

    def go_on(distiller):
        distiller.run_eagerly = True
        distiller.fit(endless(batch(64)), steps_per_epoch=1, shuffle=False, verbose=0)
        return [keras.ops.convert_to_numpy(v) for v in distiller.trainable_variables]

    made = Distiller(detector())
    slow = made.trainable_variables[:9]
    optimizer = adamw(
        schedule(), made.trainable_variables, slow, 0.1, weight_decay=DECAY, global_clipnorm=1.0
    )
    made.compile(optimizer=optimizer)
    go_on(made)
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    assert again.optimizer.get_config() == optimizer.get_config()
    assert optimizer.get_config()["scaled"] == list(range(9))
    for a, b in zip(go_on(made), go_on(again), strict=True):
        np.testing.assert_array_equal(a, b)
