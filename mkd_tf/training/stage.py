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
from mkd_tf.distillation.optimizers import adamw
from mkd_tf.distillation.schedules import WarmupCosine
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.training.backup import common_backup
from mkd_tf.training.callbacks import StageRecord, WeightAveraging
from mkd_tf.training.event_files import Events
from mkd_tf.training.fine_tuning import backbone_variables, described
from mkd_tf.training.measuring import set_operating_point
from mkd_tf.training.progress import StageProgress
from mkd_tf.training.request import REQUEST
from mkd_tf.training.stopping import Steps
from mkd_tf.training.workers import Workers

JIT = {"auto": "auto", "true": True, "false": False}
"""What Keras's `jit_compile` is for each value of the option."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The network in `final.keras`, the training time of the stage, and the epoch of `best.keras`."""

    final: Detector
    seconds: float
    best_epoch: int


def make_optimizer(
    config: OptimizerConfig,
    steps: int,
    variables: Sequence[keras.Variable],
    slow: Sequence[keras.Variable] = (),
) -> keras.Optimizer:
    """AdamW with warm-up and cosine for `variables`; those of `slow` at a share of the learning rate."""
    warmup = min(config.warmup_steps, steps // 10)
    return adamw(
        WarmupCosine(config.learning_rate, steps, warmup),
        variables,
        slow,
        config.backbone_scale,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clipnorm,
    )


def train_stage(
    role: str,
    distiller: Distiller,
    averaged: Mapping[str, Detector],
    batches: Callable[[int], tf.data.Dataset | tf.distribute.DistributedDataset],
    validation: EvaluationSet | None,
    folder: Path,
    *,
    epochs: int,
    steps_per_epoch: int,
    optimizer_config: OptimizerConfig,
    run_config: RunConfig,
    console: Console,
    pretrained: Sequence[str] = (),
    more_callbacks: Sequence[keras.callbacks.Callback] = (),
    on_row: Callable[[dict[str, Any]], None] | None = None,
    workers: Workers | None = None,
) -> Outcome | None:
    """Trains `distiller.student`, going on from the newest backup in `folder`.

    Of several workers the chief validates and writes; it alone returns an outcome.

    Args:
      averaged: for each role that learns a second network of the same form; it ends at
        the averaged weights.
      batches: makes the training batches from a given step on.
      validation: images to select `best.keras` on; None on a worker that is not the chief.
      steps_per_epoch: steps between two backups.
      pretrained: the roles of `averaged` whose backbone is fine-tuned.
      more_callbacks: called before those of the stage.
      on_row: called with the row of `history.csv` of every finished epoch.
      workers: that share the steps; the networks are made in their scope.

    Raises:
      MkdError: if the loss becomes infinite, or the backup does not fit.
    """
    workers = workers or Workers()
    steps = epochs * steps_per_epoch
    learning = {name: getattr(distiller, name) for name in averaged}
    slow = [v for name in pretrained for v in backbone_variables(learning[name])]
    with workers.scope():
        optimizer = make_optimizer(optimizer_config, steps, distiller.trainable_variables, slow)
        distiller.compile(optimizer=optimizer, jit_compile=JIT[run_config.jit_compile])
    if pretrained:
        line = described([learning[name] for name in pretrained], optimizer_config)
        say(console, f"{role}: {line}")
    for name, network in learning.items():
        averaged[name].set_weights(network.get_weights())
    progress = StageProgress(role, epochs, steps_per_epoch, console)
    owners: dict[str, list[Any]] = {
        "student": distiller.student.variables,
        "averaged": averaged["student"].variables,
        "others": [
            v for n in averaged if n != "student" for m in (learning, averaged) for v in m[n].variables
        ],
        # With a loss that is scaled, of the optimiser around it too.
        "optimizer": distiller.optimizer.variables,
        "balance": distiller.balance.variables,
        "strategies": [v for s in distiller.strategies for v in s.variables],
    }

    def report(row: dict[str, Any]) -> None:
        progress.report(row)
        if on_row is not None:
            on_row(row)

    every = run_config.eval_every
    record = StageRecord(folder, averaged["student"], validation, every, epochs, owners, report, workers)
    backup = common_backup(folder / "backup", record.save_beginning, workers)
    done = record.restore(backup) if backup else 0
    first = record.step
    if backup and backup.notice:
        say(console, f"{role}: {backup.notice}")
    if done or first:
        more = f" and {first} of {steps_per_epoch} steps" if first else ""
        say(console, f"{role}: going on after epoch {done} of {epochs}{more}")
    averages = [WeightAveraging(n, averaged[r], optimizer_config.ema_decay) for r, n in learning.items()]
    watch = Steps(record.save_step, role, steps_per_epoch, workers)
    callbacks = [*more_callbacks, *averages, record, progress, watch]
    if run_config.tensorboard and workers.is_chief:
        callbacks.insert(-2, Events(folder / "tensorboard"))

    def fit(begin: int, end: int, taken: int = 0) -> None:
        """Trains from epoch `begin`, of which `taken` steps are done, to `end`."""
        progress.first = watch.first = taken
        distiller.fit(
            batches(begin * steps_per_epoch + taken),
            epochs=end,
            initial_epoch=begin,
            steps_per_epoch=steps_per_epoch - taken,
            callbacks=callbacks,
            verbose=0,
        )

    try:
        with REQUEST.after_the_step():
            if first:
                fit(done, done + 1, first)
                done += 1
            if done < epochs:  # A kill after the last backup leaves no step to do.
                fit(done, epochs)
    except FloatingPointError as error:
        fail(
            f"stage {role}",
            expected="finite terms and weights",
            got=str(error),
            do=f"The last good state is in {folder / 'backup'}. Lower --learning_rate or the strategies' "
            "weights, in another --workdir.",
        )
    finally:
        progress.close()
    return workers.on_chief(lambda: _finished(role, distiller, averaged, validation, folder, record, console))


def _finished(
    role: str,
    distiller: Distiller,
    averaged: Mapping[str, Detector],
    validation: EvaluationSet | None,
    folder: Path,
    record: StageRecord,
    console: Console,
) -> Outcome:
    """Measures and writes the networks at the end of a stage."""
    if validation is None:
        fail("validation", expected="images of it on the chief", got="none", do="Give them.")
    if record.best < 0:
        say(console, f"{role}: no object of validation counts, so best.keras is the last")
    final, seconds = averaged["student"].shipped(), record.seconds
    set_operating_point(final, validation, record.runner)
    set_operating_point(distiller.student, validation)
    save_detector(distiller.student, folder / "last.keras")
    save_detector(final, folder / "final.keras")
    best = final
    if record.best_epoch != len(record.rows):
        best = load_detector(folder / "best.keras")
        set_operating_point(best, validation)
    save_detector(best, folder / "best.keras")
    return Outcome(final, seconds, record.best_epoch)
