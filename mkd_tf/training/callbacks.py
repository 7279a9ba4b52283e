"""Callbacks of a training stage: averaged weights, validation, history and backup."""

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import save_detector
from mkd_tf.distillation.distiller import LOSS
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.files import write_bytes
from mkd_tf.schemas.training import StateFile
from mkd_tf.training.backup import Backup, arrays_of, restore, save_backup
from mkd_tf.training.fine_tuning import frozen_variables
from mkd_tf.training.workers import Workers


class WeightAveraging(keras.callbacks.Callback):
    """Keeps `averaged`, a second model, at the moving average of the student's weights.

    Batch norm statistics are averaged too. The decay rises as (1 + n) / (10 + n), so
    that a short run does not ship its initial weights. Keras's own averaging swaps
    values in place and overwrites the raw weights at the end of `fit`.
    """

    def __init__(self, raw: keras.Model, averaged: keras.Model, decay: float):
        super().__init__()
        still = {id(v) for v in frozen_variables(raw)}
        pairs = zip(averaged.variables, raw.variables, strict=True)
        # An average of equal values is not always equal to them: rounding would move it.
        self._pairs = [(average, value) for average, value in pairs if id(value) not in still]
        self._decay = decay
        self._update = tf.function(self._assign)

    def _assign(self, keep: Any) -> None:
        learn = 1.0 - keep
        for average, value in self._pairs:
            if keras.backend.is_float_dtype(value.dtype):
                # In place, in few operations: there are many small variables.
                average.value.assign_sub(learn * (average.value - value.value))
            else:  # A counter or a seed has no average.
                average.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        n = float(np.asarray(self.model.optimizer.iterations))
        self._update(tf.constant(min(self._decay, (1 + n) / (10 + n)), tf.float32))


class StageRecord(keras.callbacks.Callback):
    """Validates, keeps the best model, writes history and backup: the end of an epoch, in order.

    The order makes a kill harmless at any point: what the backup of epoch e does not
    cover is done again, and written again with the same content.

    The shipped form of `averaged` is validated every `eval_every` of the `epochs` of the stage,
    which may be more than those of one `fit`, and saved; a backup
    holds the variables of `owners`; `report` is called after each epoch with its row. Of several
    `workers` the chief does all this; `validation` is None on the others.

    Attributes:
      step: steps of the epoch after the finished ones that a restored backup holds.
    """

    def __init__(
        self,
        folder: Path,
        averaged: Detector,
        validation: EvaluationSet | None,
        eval_every: int,
        epochs: int,
        owners: dict[str, list],
        report: Callable[[dict[str, Any]], None],
        workers: Workers | None = None,
    ):
        super().__init__()
        self._workers = workers or Workers()
        self._folder, self._averaged, self._validation = folder, averaged, validation
        self._eval_every, self._epochs = eval_every, epochs
        self._owners, self._report = owners, report
        self.runner: KerasRunner | None = None
        self._began = time.monotonic()
        self._best: dict[str, np.ndarray] = {}
        self._means: dict[str, np.ndarray] = {}
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.best, self.best_epoch = -1.0, 0

    def restore(self, backup: Backup) -> int:
        """Restores a backup; returns how many epochs are done."""
        state, where = backup.state, self._folder / "backup"
        arrays = {k: v for k, v in backup.arrays.items() if not k.startswith(("best/", "means/"))}
        best = {k.replace("best/", "averaged/"): v for k, v in backup.arrays.items() if k.startswith("best/")}
        self._means = {k: v for k, v in backup.arrays.items() if k.startswith("means/")}
        self.step = state.get("step", 0)
        if best and self._workers.is_chief:
            # A lost attempt at the next epoch may have overwritten the file.
            restore({"averaged": self._owners["averaged"]}, best, where)
            save_detector(self._averaged.shipped(), self._folder / "best.keras")
            self._best = arrays_of({"best": self._owners["averaged"]})
        restore(self._owners, arrays, where)
        self.rows, self.best, self.best_epoch = state["rows"], state["best"], state["best_epoch"]
        self._began -= state["seconds"]
        return state["epoch"]

    @property
    def seconds(self) -> float:
        """Training time so far, earlier runs of a resumed stage included."""
        return time.monotonic() - self._began

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._means:  # Keras has just reset them.
            restore(self._mean_variables(), self._means, self._folder / "backup")
            self._means = {}

    def _mean_variables(self) -> dict[str, list[keras.Variable]]:
        """Returns the variables of the running means that become the epoch's row."""
        return {"means": [v for metric in self.model.metrics for v in metric.variables]}

    def save_step(self, step: int) -> str:
        """Saves the state after `step` steps of the epoch that follows the finished ones; returns where."""
        means = arrays_of(self._mean_variables())  # Of all workers, by all of them.
        return str(self._workers.on_chief(lambda: self._save(means, step), stops=False) or "")

    def save_beginning(self) -> None:
        """Saves the state before the first step, from which other workers take it."""
        self._save({})

    def _save(self, means: dict[str, np.ndarray], step: int = 0) -> Path:
        done = len(self.rows)
        arrays = arrays_of(self._owners)
        broken = [name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
        if broken:
            raise FloatingPointError(f"the variable {broken[0]} is not finite after epoch {done}")
        state: StateFile = {
            "epoch": done,
            "rows": self.rows,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
        }
        if step:
            state["step"] = step
        return save_backup(self._folder / "backup", done, arrays | self._best | means, state)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._workers.on_chief(lambda: self._ended(epoch, logs), stops=False)

    def _ended(self, epoch: int, logs: dict[str, Any] | None) -> None:
        done = epoch + 1
        row: dict[str, Any] = {
            "epoch": done,
            # `total` is Keras's `loss`.
            **{k: float(v) for k, v in (logs or {}).items() if k != LOSS},
            "val_AP": None,
        }
        if not math.isfinite(row.get("total", 0.0)):
            raise FloatingPointError(f"the loss became {row['total']} in epoch {done}")
        row["learning_rate"] = float(np.asarray(self.model.optimizer.learning_rate))
        if done % self._eval_every == 0 or done == self._epochs:
            network = self._averaged.shipped()
            # A network that is rebuilt for shipping needs a new trace; others are traced once.
            if self.runner is None or network is not self._averaged:
                self.runner = KerasRunner(network)
            validation = cast(EvaluationSet, self._validation)
            metrics = validation.evaluate(self.runner, self._averaged.class_names)
            row["val_AP"] = metrics["AP"]
            if logs is not None and row["val_AP"] is not None:
                logs["val_AP"] = row["val_AP"]  # For TensorBoard, which comes next.
            # Without an object to find no epoch is better than another: the last one is kept.
            if row["val_AP"] is None or row["val_AP"] > self.best:
                self.best = self.best if row["val_AP"] is None else row["val_AP"]
                self.best_epoch = done
                self._best = arrays_of({"best": self._owners["averaged"]})
                save_detector(network, self._folder / "best.keras")
        row["seconds"] = round(self.seconds, 2)
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row))
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self._folder / "history.csv", text.getvalue().encode())
        self._save({})
        self._report(row)
