"""What only the stage of a compression has: its callback, its settings, its preparation."""

from typing import Any

import keras

from mkd_tf.checks import MkdError
from mkd_tf.compression import METHODS, CompressedDetector
from mkd_tf.config import Config
from mkd_tf.conversion.calibration import choose_calibration
from mkd_tf.data.base import Dataset
from mkd_tf.registry import parse_specs
from mkd_tf.schemas.training import StageFile
from mkd_tf.strategies import STRATEGIES
from mkd_tf.training.plan import Stage


class CompressionSteps(keras.callbacks.Callback):
    """Passes the number of every step, from 0, to the method before the step is done."""

    def __init__(self, student: CompressedDetector):
        super().__init__()
        self._student = student

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._student.method.advance(self._student.twin, int(self.model.optimizer.iterations))


def settings_of(stage: Stage, config: Config) -> StageFile:
    """Returns what a compression's result depends on beside the run's own flags."""
    return {
        "method": stage.method,
        "start": stage.start,
        "epochs": stage.epochs,
        "strategies": stage.strategies,
        "learning_rate": config.compression.compress_learning_rate,
    }


def mean_the_same(key: str, before: Any, now: Any) -> bool:
    """Returns whether two values of a setting give the same result: specs may leave out defaults."""
    table: Any = {"method": METHODS, "strategies": STRATEGIES}.get(key)
    if before == now or table is None:
        return bool(before == now)
    try:
        first, second = ([table.complete(spec) for spec in parse_specs(text)] for text in (before, now))
    except MkdError:  # What another version wrote may not be known here.
        return False
    return first == second


def prepare(student: CompressedDetector, dataset: Dataset, config: Config) -> None:
    """Lets the method measure the trained student on training images."""
    chosen = choose_calibration(dataset, student.image_size, seed=config.run.seed, fit=config.data.fit)
    student.prepare(chosen.images)
