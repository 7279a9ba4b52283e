"""An estimate of the whole run from its first steps, printed in the first epoch."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mkd_tf.training.advice_probe import Times
from mkd_tf.training.advice_times import Load, Speed, in_words, stage_time, step_seconds
from mkd_tf.training.plan import Stage

STEPS = 10
"""Steps that are looked at: the first one includes tracing and is left out."""
LEAST_STEPS = 400
"""Steps of a whole run below which it is over before an estimate is worth a line."""
_BATCH_SHARE, _TRACE_SHARE = 0.15, 0.1


class FirstSteps(Times):
    """Prints how long the rest of the run takes after the first steps of its first stage.

    Args:
      stages: those that are to be trained, the running one first.
      load: what they work on.
      say: prints a line.
    """

    def __init__(self, stages: Sequence[Stage], load: Load, say: Callable[[str], None]):
        super().__init__()
        self._stages, self._load, self._say = stages, load, say
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if len(self.ends) >= STEPS:
            return
        super().on_train_batch_end(batch, logs)
        if len(self.ends) == STEPS:
            self._say(estimate(self._stages, self._load, self.step_s, self.ends[0] - self._began))


def estimate(stages: Sequence[Stage], load: Load, step_s: float, start_s: float) -> str:
    """Returns how long stages take, in a line.

    Args:
      stages: the one that was measured first.
      load: what they work on.
      step_s: seconds of a step of the first stage.
      start_s: seconds until its first step was done.
    """
    unit = Speed(1.0, 0.0, 0.0, 0.0, 0.0, load.batch_size)
    counted = step_seconds(stages[0], load, unit)
    mac_s = (1 - _BATCH_SHARE) * step_s / max(counted, 1.0)
    speed = Speed(mac_s, _BATCH_SHARE * step_s, start_s, _TRACE_SHARE * start_s, 0.0, load.batch_size)
    times = {s.role: stage_time(s, s.epochs, load, speed)["total_s"] for s in stages}
    whole = sum(times.values())
    if not math.isfinite(whole):
        return "estimate: not possible, as no step could be timed"
    each = ", ".join(f"{role} {in_words(seconds)}" for role, seconds in times.items())
    return (
        f"estimate: {in_words(whole)} for all stages: {each} ({1000 * step_s:.0f} ms a step of the first one)"
    )


def steps_of(stages: Sequence[Stage], pools: Mapping[str, int], batch_size: int) -> int:
    """Returns the steps of stages together."""
    return sum(stage.epochs * math.ceil(pools[stage.role] / batch_size) for stage in stages)
