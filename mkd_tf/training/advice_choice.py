"""What `--minutes` chooses: input size and batch from the data, epochs from a measured step."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

from mkd_tf.config import Config
from mkd_tf.schemas.inspection import InspectionFile
from mkd_tf.training.advice_times import Load, Speed, scaled_epochs
from mkd_tf.training.plan import Stage

EPOCHS = ("teacher_epochs", "guide_epochs", "student_epochs")
SMALL_PX, LEAST_PX = 12.0, 8.0
"""95 % of the training objects are at least this large: where there is time, and where there is little."""
SMALLEST, LARGEST, STEP = 96, 512, 32
FEWEST_PASSES, FEWEST_STEPS = 20, 600
"""Of the student: below both of them a smaller input with more steps is preferred."""
_SMALL_POOL, _SMALL_BATCH = 128, 8


@dataclasses.dataclass(frozen=True)
class Choice:
    """Values of flags by name, and why, in sentences with their figures."""

    values: dict[str, Any]
    reasons: list[str]


def choose_batch(config: Config, given: Collection[str], pool: int) -> dict[str, Any]:
    """Returns batch size and learning rate, where they are to differ from those of `config`.

    A batch is small where an epoch would have few steps. The learning rate follows the square root
    of the batch (Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
    2022).
    """
    batch = config.optimizer.batch_size
    if "batch_size" in given or pool >= _SMALL_POOL or batch <= _SMALL_BATCH:
        return {}
    found: dict[str, Any] = {"batch_size": _SMALL_BATCH}
    if "learning_rate" not in given:
        found["learning_rate"] = round(config.optimizer.learning_rate * (_SMALL_BATCH / batch) ** 0.5, 6)
    return found


def sizes_to_try(record: InspectionFile, config: Config, given: Collection[str]) -> list[int]:
    """Returns the input sides that fit the data, the preferred one first.

    The preferred side is that of `config`, or a larger one where small objects need it, but not
    larger than the images; smaller ones follow down to where small objects would be lost.
    """
    now, train = config.roles.image_size, record["splits"].get("train")
    sized = {"image_size", "teacher_image_size", "guide_image_size", "teacher_weights", "guide_weights"}
    if sized & set(given) or train is None or not train["size_px"]:
        return [now]
    # At `now` the smallest 5 % of the objects are below `small`; sizes grow with the side.
    small = max(train["size_px"][0], 0.1)
    most = max(SMALLEST, min(LARGEST, _up(min(train["height_px"], train["width_px"]))))
    first = min(max(now, _up(now * SMALL_PX / small)), most)
    last = min(first, max(SMALLEST, _up(now * LEAST_PX / small)))
    return list(range(first, last - 1, -STEP)) or [first]


def choose(
    record: InspectionFile,
    config: Config,
    given: Collection[str],
    stages: Sequence[Stage],
    load: Load,
    speed: Speed,
    seconds: float,
) -> Choice:
    """Returns what a run of a given time is to be.

    Args:
      record: what the data set holds.
      config: of the run; the proportion of its epochs is kept.
      given: names of flags that the user gave, which are not chosen, but for epochs.
      stages: those that train.
      load: at the image size of `config`, and the batch size that `choose_batch` returned.
      speed: of the machine.
      seconds: for all stages together.
    """
    now, reasons = config.roles.image_size, []
    sizes = sizes_to_try(record, config, given)
    for size in sizes:
        here = load.at((size / now) ** 2, load.batch_size)
        epochs, factor = scaled_epochs(stages, here, speed, seconds)
        student = next(stage for stage in reversed(stages) if stage.role.startswith("student"))
        passes = factor * student.epochs
        steps = passes * here.steps_per_epoch(student.role)
        if passes >= FEWEST_PASSES or steps >= FEWEST_STEPS:
            break
    values: dict[str, Any] = {"image_size": size} if size != now else {}
    train = record["splits"].get("train")
    if train and train["size_px"]:
        reasons.append(
            f"input of {size} px: 95 % of the {train['objects']:,} training objects are at least "
            f"{train['size_px'][0] * size / now:.0f} px there"
            + (f"; at {sizes[0]} px too few steps would fit" if size < sizes[0] else "")
        )
    reasons.append(
        f"batches of {here.batch_size}: a pass of the student over {here.pools[student.role]:,} images "
        f"takes {here.steps_per_epoch(student.role)} steps"
    )
    if passes < FEWEST_PASSES and steps < FEWEST_STEPS:
        reasons.append(
            f"too little time: {passes:.1f} passes of the student ({steps:.0f} steps) fit; "
            f"below {FEWEST_PASSES} passes and {FEWEST_STEPS} steps expect an under-trained network"
        )
    by_flag = {f"{stage.role}_epochs": epochs[stage.role] for stage in stages}
    values |= {name: by_flag[name] for name in EPOCHS if name in by_flag}
    if "eval_every" not in given:
        values["eval_every"] = validation_distance(epochs[student.role], here, speed, student)
    return Choice(values, reasons)


def validation_distance(epochs: int, load: Load, speed: Speed, student: Stage) -> int:
    """Returns the epochs between validations: at least four validations, and else a tenth of the time."""
    once = load.validation * speed.mac_s * load.macs[student.role]
    epoch = load.steps_per_epoch(student.role) * 3 * once / max(load.validation, 1) * load.batch_size
    distance = max(load.eval_every, math.ceil(once / max(0.1 * epoch, 1e-9)))
    return max(1, min(distance, epochs // 4))


def _up(side: float) -> int:
    return STEP * math.ceil(side / STEP - 1e-6)
