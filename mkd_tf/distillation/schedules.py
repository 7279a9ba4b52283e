"""Schedules over training steps."""

from typing import Any

import keras
from keras import ops

from mkd_tf.detection.types import Array, Scalar


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


def ramp(progress: Scalar, rise: float, fall: float) -> Scalar:
    """Returns a factor 0..1 over a run: linear up over the first `rise`, down over the last `fall`.

    Args:
      progress: the fraction of the run that is done.
      rise: fraction of the run, 0 for none.
      fall: fraction of the run, 0 for none.
    """
    up = 1.0 if rise <= 0 else ops.clip(progress / rise, 0.0, 1.0)
    down = 1.0 if fall <= 0 else ops.clip((1.0 - progress) / fall, 0.0, 1.0)
    return ops.minimum(up, down) * ops.ones(())
