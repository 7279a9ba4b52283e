"""A stage that can be stopped at any step: by a signal, or because a number is no longer finite.

The step at hand is finished and saved; outside of a stage a run ends at once, since every file
is written whole or not at all.
"""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import keras

from mkd_tf.training.request import GOES_ON, Stopped
from mkd_tf.training.workers import Workers


class Steps(keras.callbacks.Callback):
    """Looks at every step: are its terms finite, and is the run asked to stop?

    Comes after what changes the state in a step, and after what saves an epoch. Several workers
    agree at every step: all stop after the same one, whichever of them was asked.

    Args:
      save: saves the state after so many steps of the epoch at hand; returns where.
      role: of the stage.
      per_epoch: steps of an epoch.
      workers: of the run.
    """

    def __init__(self, save: Callable[[int], str], role: str, per_epoch: int, workers: Workers | None = None):
        super().__init__()
        self._save, self._role, self._per_epoch = save, role, per_epoch
        self._workers = workers or Workers()
        self._epoch = 0
        self.first = 0
        """Steps of the epoch at hand that an earlier run has taken."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.first + batch + 1
        check_finite(logs or {}, self._epoch * self._per_epoch + done)
        # After the last step of an epoch comes its end, which saves.
        if done < self._per_epoch and (number := self._workers.requested()):
            self._stop(number, self._save(done), done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if number := self._workers.requested():
            self._stop(number, "", 0)
        self.first = 0

    def _stop(self, number: int, where: str, step: int) -> NoReturn:
        epoch = f"{self._role}: step {step} of {self._per_epoch} in epoch {self._epoch + 1}"
        done = epoch if step else f"{self._role}: epoch {self._epoch + 1}"
        raise Stopped(number, f"saved {done}{f' in {where}' if where else ''}; {GOES_ON}")


def check_finite(logs: dict[str, Any], step: int) -> None:
    """Raises FloatingPointError naming the first term that is not finite after a step.

    Running means are enough: one such number makes its mean the same for the rest of the epoch.
    """
    # A share is a ratio of gradients for the eye alone, and has no value where both are zero.
    terms = {name: value for name, value in logs.items() if not name.startswith("share_")}
    if all(math.isfinite(value) for value in terms.values()):
        return
    # The sums follow from the terms, and a term from the value before its weight.
    order = sorted(terms, key=lambda name: (name in ("loss", "total"), not name.startswith("raw_")))
    name = next(name for name in order if not math.isfinite(terms[name]))
    raise FloatingPointError(f"{name.removeprefix('raw_')} is {logs[name]} after step {step}")
