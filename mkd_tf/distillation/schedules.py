"""Schedules over training steps."""

from typing import Any

import keras
from keras import ops

from mkd_tf.detection.types import Array, Bool, Scalar


@keras.saving.register_keras_serializable("mkd_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine to zero (Loshchilov and Hutter, SGDR, 2017)."""

    def __init__(self, peak: float, steps: int, warmup_steps: int):
        self.peak, self.steps, self.warmup_steps = peak, steps, warmup_steps

    def __call__(self, step: Array) -> Scalar:
        step = ops.cast(step, "float32")
        warm = (step + 1.0) / max(1, self.warmup_steps)
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1.0 + ops.cos(3.14159265 * ops.clip(done, 0.0, 1.0)))
        return self.peak * ops.where(step < self.warmup_steps, warm, cosine)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup_steps": self.warmup_steps}


def ramp(progress: Scalar, rise: float, fall: float, start: float = 0.0, end: float = 1.0) -> Scalar:
    """Returns a factor 0..1 over a run: 0 outside `start` to `end`, linear up and down inside.

    All of them are fractions of the run. `start` belongs to the phase, `end` does not,
    but for the end of the run.

    Args:
      progress: the fraction of the run that is done.
      rise: the factor rises from `start` to `start + rise`; 0 for a step.
      fall: the factor falls from `end - fall` to `end`; 0 for a step.
      start: beginning of the phase.
      end: end of the phase.
    """

    def towards(distance: Scalar, length: float) -> Scalar:
        return ops.clip(distance / length, 0.0, 1.0) if length > 0 else ops.ones(())

    factor = ops.minimum(towards(progress - start, rise), towards(end - progress, fall))
    return ops.where(is_inside(progress, start, end), factor, 0.0)


def is_inside(progress: Scalar, start: float, end: float) -> Bool[Array, ""]:
    """Returns whether a run is in the phase from `start` to `end`, fractions of it."""
    # Rounded progress, as 0.3 in float32, is inside a phase from 0.3 on.
    has_begun = ops.greater_equal(progress, start - 1e-6)
    is_over = ops.greater_equal(progress, end - 1e-6) if end < 1 else False
    return ops.logical_and(has_begun, ops.logical_not(is_over))
