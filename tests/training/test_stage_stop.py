"""A stage that is stopped within an epoch ends as one that was left alone, bit for bit."""

import io
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from mkd_tf.config import OptimizerConfig, RunConfig
from mkd_tf.detectors import DETECTORS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.training import request, stage
from tests.strategies import fakes

SPEC = "tiny(widths=(4, 4, 4, 4), pyramid=4, block='plain', tower=0)"
EPOCHS, PER_EPOCH = 2, 4


class Validation:
    def evaluate(self, runner, class_names):
        return {"AP": 10.0}


class AskedAt(keras.callbacks.Callback):
    """Asks the process to stop after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            request.REQUEST.number = signal.SIGTERM


def network(seed):
    keras.utils.set_random_seed(seed)
    return DETECTORS.build(SPEC, image_size=64, class_names=("a", "b", "c"), name=f"tiny{seed}")


def batches(first):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (EPOCHS * PER_EPOCH, 2, 64, 64, 3)).astype("float32")
    targets = fakes.targets(fakes.port(), 2)

    def batch(i):
        return {"images": tf.gather(images, i), "targets": {"student": targets}}

    return tf.data.Dataset.range(first, EPOCHS * PER_EPOCH).map(batch)


def trained(folder, console, more=()):
    made = Distiller(network(0))
    return stage.train_stage(
        "student",
        made,
        {"student": network(0)},
        batches,
        Validation(),
        folder,
        epochs=EPOCHS,
        steps_per_epoch=PER_EPOCH,
        optimizer_config=OptimizerConfig(batch_size=2, warmup_steps=2),
        run_config=RunConfig(eval_every=1, tensorboard=False, jit_compile="false"),
        console=console,
        more_callbacks=more,
    )


def test_stopped_within_epochs_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "set_operating_point", lambda *_: None)
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    whole = trained(tmp_path / "whole", console)
    for steps in (2, 3):  # Within the first epoch, and within the second.
        with pytest.raises(request.Stopped, match="stopped by SIGTERM; saved student"):
            trained(tmp_path / "torn", console, [AskedAt(steps)])
        request.REQUEST.number = 0
    torn = trained(tmp_path / "torn", console)
    for a, b in zip(whole.final.get_weights(), torn.final.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = []
    for name in ("whole", "torn"):
        lines = (tmp_path / name / "history.csv").read_text().splitlines()
        histories.append([line.rsplit(",", 1)[0] for line in lines])  # Without the seconds.
    assert histories[0] == histories[1]
    told = printed.getvalue()
    assert "student: going on after epoch 1 of 2 and 1 of 4 steps" in told
    assert "student: going on after epoch 0 of 2 and 2 of 4 steps" in told
