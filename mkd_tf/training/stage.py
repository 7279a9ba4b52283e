"""One stage: a network trains, alone or by distillation, and can be killed at any moment."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from mkd_tf.checks import fail
from mkd_tf.config import OptimizerConfig, RunConfig
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.schedules import WarmupCosine
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.training.backup import load_backup
from mkd_tf.training.callbacks import StageRecord, WeightAveraging
from mkd_tf.training.measuring import set_operating_point
from mkd_tf.training.progress import StageProgress

_JIT = {"auto": "auto", "true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The network in `final.keras`, the training time of the stage, and the epoch of `best.keras`."""

    final: Detector
    seconds: float
    best_epoch: int


def make_optimizer(config: OptimizerConfig, steps: int) -> keras.Optimizer:
    """AdamW with warm-up and cosine; biases and batch norms do not decay."""
    warmup = min(config.warmup_steps, steps // 10)
    optimizer = keras.optimizers.AdamW(
        WarmupCosine(config.learning_rate, steps, warmup),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clipnorm,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def train_stage(
    role: str,
    distiller: Distiller,
    averaged: Mapping[str, Detector],
    batches: Callable[[int], tf.data.Dataset],
    validation: EvaluationSet,
    folder: Path,
    *,
    epochs: int,
    steps_per_epoch: int,
    optimizer_config: OptimizerConfig,
    run_config: RunConfig,
    console: Console,
    more_callbacks: Sequence[keras.callbacks.Callback] = (),
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Trains `distiller.student`, going on from the newest backup in `folder`.

    Args:
      averaged: for each role that learns a second network of the same form; it ends at
        the averaged weights.
      batches: makes the training batches from a given step on.
      validation: images to select `best.keras` on.
      steps_per_epoch: steps between two backups.
      more_callbacks: called before those of the stage.
      on_row: called with the row of `history.csv` of every finished epoch.

    Raises:
      MkdError: if the loss becomes infinite, or the backup does not fit.
    """
    steps = epochs * steps_per_epoch
    optimizer = make_optimizer(optimizer_config, steps)
    distiller.compile(optimizer=optimizer, jit_compile=_JIT[run_config.jit_compile])
    optimizer.build(distiller.trainable_variables)
    learning = {name: getattr(distiller, name) for name in averaged}
    for name, network in learning.items():
        averaged[name].set_weights(network.get_weights())
    progress = StageProgress(role, epochs, steps_per_epoch, console)
    owners: dict[str, list[Any]] = {
        "student": distiller.student.variables,
        "averaged": averaged["student"].variables,
        "others": [
            v for n in averaged if n != "student" for m in (learning, averaged) for v in m[n].variables
        ],
        "optimizer": optimizer.variables,
        "balance": distiller.balance.variables,
        "strategies": [v for s in distiller.strategies for v in s.variables],
    }

    def report(row: dict[str, Any]) -> None:
        progress.report(row)
        if on_row is not None:
            on_row(row)

    record = StageRecord(folder, averaged["student"], validation, run_config.eval_every, owners, report)
    backup = load_backup(folder / "backup")
    done = record.restore(backup) if backup else 0
    if done:
        console.print(f"{role}: going on after epoch {done} of {epochs}", highlight=False)
    averages = [WeightAveraging(n, averaged[r], optimizer_config.ema_decay) for r, n in learning.items()]
    callbacks = [*more_callbacks, *averages, record, progress]
    if run_config.tensorboard:
        callbacks.insert(-1, keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False))
    try:
        if done < epochs:  # A kill after the last backup leaves no step to do.
            distiller.fit(
                batches(done * steps_per_epoch),
                epochs=epochs,
                initial_epoch=done,
                steps_per_epoch=steps_per_epoch,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,  # The batches come in an order of their own.
            )
    except FloatingPointError as error:
        fail(
            f"stage {role}",
            expected="a finite loss",
            got=str(error),
            do="Lower --learning_rate or the strategies' weights, in another --workdir.",
        )
    finally:
        progress.close()
    if record.best < 0:
        console.print(f"{role}: no object of validation counts, so best.keras is the last", highlight=False)
    final, seconds = averaged["student"].shipped(), record.seconds
    set_operating_point(final, validation, record.runner)
    set_operating_point(distiller.student, validation)
    save_detector(distiller.student, folder / "last.keras")
    save_detector(final, folder / "final.keras")
    best = final
    if record.best_epoch != epochs:
        best = load_detector(folder / "best.keras")
        set_operating_point(best, validation)
    save_detector(best, folder / "best.keras")
    return Outcome(final, seconds, record.best_epoch)
