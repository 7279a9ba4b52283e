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
