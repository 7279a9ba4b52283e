"""How long the stages of a run take: one measured step, and multiply-adds for what was not measured.

A training step of a network costs about three of its forward passes (forward, gradient of the
activations, gradient of the weights), one of each network that it learns from, and the
preparation of the batch:

    step_s = mac_s * batch * (3 * macs + macs of the sources) + batch_s

`mac_s` and `batch_s` are measured on the first stage that trains. Multiply-adds grow with the
square of the input's side.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mkd_tf.schemas.inspection import StageTime
from mkd_tf.training.plan import Stage

FORWARD_PASSES = 3
_TRACES = 4
"""Networks that are traced to detect at the end of a stage: operating points, test AP."""
_EPOCH_S = 0.15
"""Backup and history at the end of an epoch, on a local disk."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured on this machine.

    Attributes:
      mac_s: seconds for one multiply-add of a forward pass in training.
      batch_s: seconds to prepare a batch of `batch_size` images.
      start_s: seconds until the first step of a stage is done: networks are built and traced.
      trace_s: seconds until a network detects for the first time.
      read_s: seconds to read an image of the data set.
      batch_size: of the measured batches.
    """

    mac_s: float
    batch_s: float
    start_s: float
    trace_s: float
    read_s: float
    batch_size: int


@dataclasses.dataclass(frozen=True)
class Load:
    """What the stages of a run work on.

    Attributes:
      macs: multiply-adds of the network of each role for one image.
      pools: images that make an epoch of each role.
      validation: number of validation images.
      test: number of test images.
      batch_size: images per step.
      eval_every: epochs between validations.
    """

    macs: Mapping[str, float]
    pools: Mapping[str, int]
    validation: int
    test: int
    batch_size: int
    eval_every: int

    def steps_per_epoch(self, role: str) -> int:
        """Returns the steps of an epoch of a role."""
        return max(1, math.ceil(self.pools[role] / self.batch_size))

    def at(self, factor: float, batch_size: int) -> "Load":
        """Returns the load at another batch size and `factor` times the multiply-adds."""
        macs = {role: factor * count for role, count in self.macs.items()}
        return dataclasses.replace(self, macs=macs, batch_size=batch_size)


def sources_of(stage: Stage) -> tuple[str, ...]:
    """Returns the roles whose networks run in every step of a stage: those that a strategy names, or may."""
    text = stage.strategies.replace(" ", "")
    used = {"teacher"} if text else set()
    if "source='guide'" in text or 'source="guide"' in text:
        used.add("guide")
    return tuple(role for role in stage.sources if role in used)


def step_seconds(stage: Stage, load: Load, speed: Speed) -> float:
    """Returns the seconds of one training step of a stage."""
    own = load.macs[stage.role] + (load.macs.get("guide", 0.0) if stage.guide else 0.0)
    others = sum(load.macs.get(role, 0.0) for role in sources_of(stage))
    compute = speed.mac_s * load.batch_size * (FORWARD_PASSES * own + others)
    return compute + speed.batch_s * load.batch_size / speed.batch_size


def stage_time(stage: Stage, epochs: int, load: Load, speed: Speed) -> StageTime:
    """Returns how long a stage of `epochs` takes, from building its network to its test AP."""
    per_epoch, step_s = load.steps_per_epoch(stage.role), step_seconds(stage, load, speed)
    image_s = speed.mac_s * load.macs[stage.role]
    validations = epochs // load.eval_every + bool(epochs % load.eval_every)
    validation_s = speed.trace_s + validations * load.validation * image_s
    finish_s = _TRACES * speed.trace_s + (3 * load.validation + 2 * load.test) * image_s
    start_s = speed.start_s + finish_s
    total = start_s + validation_s + epochs * (per_epoch * step_s + _EPOCH_S)
    return {
        "epochs": epochs,
        "steps": epochs * per_epoch,
        "step_s": step_s,
        "start_s": start_s,
        "validation_s": validation_s,
        "total_s": total,
    }


def scaled_epochs(
    stages: Sequence[Stage], load: Load, speed: Speed, seconds: float
) -> tuple[dict[str, int], float]:
    """Returns the epochs of stages that fill a time, in the proportion of their own epochs.

    Args:
      stages: those that train.
      load: of the run.
      speed: of the machine.
      seconds: for all of them together.

    Returns:
      epochs by role, 1 at least, and the factor by which those of the stages were multiplied.
    """
    fixed = sum(stage_time(stage, 0, load, speed)["total_s"] for stage in stages)
    whole = sum(stage_time(stage, stage.epochs, load, speed)["total_s"] for stage in stages)
    factor = max(0.0, (seconds - fixed) / max(whole - fixed, 1e-9))
    return {stage.role: max(1, round(factor * stage.epochs)) for stage in stages}, factor


def in_words(seconds: float) -> str:
    """Returns a time in words: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
