"""Schedules at their corners."""

import keras
import pytest

from mkd_tf.distillation.schedules import WarmupCosine, ramp


def test_warm_up_then_half_a_cosine():
    rate = WarmupCosine(peak=2.0, steps=110, warmup_steps=10)
    # A tenth of the way up at the first step, the peak at the tenth; half of it half way down.
    expected = {0: 0.2, 4: 1.0, 9: 2.0, 10: 2.0, 60: 1.0, 110: 0.0, 500: 0.0}
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-5), step


def test_no_warm_up_and_one_step():
    assert float(WarmupCosine(1.0, 10, 0)(0)) == 1.0
    assert float(WarmupCosine(1.0, 1, 0)(0)) == 1.0


def test_a_schedule_is_saved_with_its_optimizer():
    optimizer = keras.optimizers.AdamW(WarmupCosine(0.5, 100, 10))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert float(again.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("progress", "rise", "fall", "factor"),
    [
        (0.0, 0, 0, 1.0),
        (1.0, 0, 0, 1.0),
        (0.0, 0.1, 0, 0.0),
        (0.05, 0.1, 0, 0.5),
        (0.1, 0.1, 0.2, 1.0),
        (0.5, 0.1, 0.2, 1.0),
        (0.9, 0, 0.2, 0.5),
        (1.0, 0.1, 0.2, 0.0),
        # Where both are at work the lower one counts: 0.5 / 0.8 up, 0.5 / 0.6 down.
        (0.5, 0.8, 0.6, 0.625),
    ],
)
def test_ramp(progress, rise, fall, factor):
    assert float(ramp(keras.ops.convert_to_tensor(progress), rise, fall)) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("progress", "phase", "factor"),
    [
        # An end without a teacher: nothing from 0.8 on, and the fall lies before it.
        (0.0, {"end": 0.8}, 1.0),
        (0.79, {"end": 0.8}, 1.0),
        (0.8, {"end": 0.8}, 0.0),
        (1.0, {"end": 0.8}, 0.0),
        (0.7, {"end": 0.8, "fall": 0.2}, 0.5),
        # Late: nothing before 0.5, and the rise begins there.
        (0.49, {"start": 0.5}, 0.0),
        (0.5, {"start": 0.5}, 1.0),
        (1.0, {"start": 0.5}, 1.0),
        (0.6, {"start": 0.5, "rise": 0.4}, 0.25),
        # Between 0.2 and 0.6, up over 0.1 and down over 0.2.
        (0.25, {"start": 0.2, "end": 0.6, "rise": 0.1, "fall": 0.2}, 0.5),
        (0.35, {"start": 0.2, "end": 0.6, "rise": 0.1, "fall": 0.2}, 1.0),
        (0.55, {"start": 0.2, "end": 0.6, "rise": 0.1, "fall": 0.2}, 0.25),
        (0.65, {"start": 0.2, "end": 0.6, "rise": 0.1, "fall": 0.2}, 0.0),
    ],
)
def test_phases(progress, phase, factor):
    found = ramp(keras.ops.convert_to_tensor(progress), **({"rise": 0, "fall": 0} | phase))
    assert float(found) == pytest.approx(factor, abs=1e-6)


def test_consecutive_phases_neither_overlap_nor_leave_a_step_out():
    for step in range(10):
        done = keras.ops.convert_to_tensor(step / 10, dtype="float32")
        factors = [float(ramp(done, 0, 0, a / 10, b / 10)) for a, b in ((0, 3), (3, 7), (7, 10))]
        assert sorted(factors) == [0, 0, 1], step
