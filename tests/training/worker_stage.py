"""A stage in two workers: left alone, asked to stop, killed, and started again (`worker_processes`).

The folder of the environment variable FOLDER gets the work directories `whole` and `torn`.
"""

import functools
import io
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from mkd_tf.checks import MkdError
from mkd_tf.config import OptimizerConfig, RunConfig
from mkd_tf.detectors import DETECTORS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.training import distribution, stage
from mkd_tf.training.cluster import read_cluster
from mkd_tf.training.distribution import scope
from mkd_tf.training.networks import synchronize
from mkd_tf.training.request import REQUEST, Stopped
from tests.strategies import fakes

PHASES = dict.fromkeys(("whole", "asked", "killed", "again"), 2)
SPEC = "tiny(widths=(4, 4, 4, 4), pyramid=4, block='plain', tower=0)"
EPOCHS, PER_EPOCH, BATCH = 2, 3, 4


class Validation:
    def evaluate(self, runner, class_names):
        return {"AP": 10.0}


class At(keras.callbacks.Callback):
    """Sends a signal to its own process after so many steps."""

    def __init__(self, steps, number):
        super().__init__()
        self.left, self.number = steps, number

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), self.number)


def batches(first, part):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (EPOCHS * PER_EPOCH, BATCH, 64, 64, 3)).astype("float32")
    own = slice(BATCH * part[0] // part[1], BATCH * (part[0] + 1) // part[1])
    targets = {k: tf.constant(v)[own] for k, v in fakes.targets(fakes.port(), BATCH).items()}

    def batch(i):
        return {"images": tf.gather(images, i)[own], "targets": {"student": targets}}

    return tf.data.Dataset.range(first, EPOCHS * PER_EPOCH).map(batch)


def network(seed):
    keras.utils.set_random_seed(seed)
    made = DETECTORS.build(SPEC, image_size=64, class_names=("a", "b", "c"), name=f"tiny{seed}")
    synchronize(made)
    return made


def phase(name: str) -> int:
    """Trains, in the way of a phase; returns the exit status."""
    stage.set_operating_point = lambda *_: None
    if name == "killed":
        distribution.SILENT_SECONDS = 10  # For one that was killed the other waits as long.
    printed = io.StringIO()
    run = RunConfig(distribution="multi_worker", eval_every=1, tensorboard=False, jit_compile="false")
    folder = Path(os.environ["FOLDER"], "whole" if name == "whole" else "torn")
    try:
        with scope(run) as workers, REQUEST.watched():
            number = {"asked": (2, signal.SIGTERM), "killed": (3, signal.SIGKILL)}.get(name)
            with workers.scope():
                # The others get the chief's initial weights.
                made, averaged = Distiller(network(workers.index)), network(workers.index)
            stage.train_stage(
                "student",
                made,
                {"student": averaged},
                lambda first: workers.shared(functools.partial(batches, first), BATCH),
                Validation() if workers.is_chief else None,
                folder,
                epochs=EPOCHS,
                steps_per_epoch=PER_EPOCH,
                optimizer_config=OptimizerConfig(batch_size=BATCH, warmup_steps=2),
                run_config=run,
                console=Console(file=printed, width=200),
                more_callbacks=[At(*number)] if number and workers.index == 1 else [],
                workers=workers,
            )
            np.savez(f"{folder}.worker{workers.index}.npz", *averaged.get_weights())
            if name == "whole" and workers.is_chief:
                time.sleep(2)
                folder.with_name("last").touch()
        assert folder.with_name("last").exists(), "a worker ended before the others were done"
    except (Stopped, MkdError) as error:
        printed.write(f"{error}\n")
        return error.status if isinstance(error, Stopped) else 1
    finally:
        folder.with_name(f"{name}{read_cluster().index}.txt").write_text(printed.getvalue())
    return 0
