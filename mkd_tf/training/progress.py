"""The progress of a stage: a bar with the time left on a terminal, lines in a log file."""

from typing import Any

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mkd_tf.evaluation.console import say


class StageProgress(keras.callbacks.Callback):
    """A bar on a terminal; elsewhere one line per validation."""

    def __init__(self, role: str, epochs: int, steps_per_epoch: int, console: Console):
        super().__init__()
        self._role, self._epochs, self._per_epoch = role, epochs, steps_per_epoch
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description:13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            transient=True,
        )
        self._note = ""
        self._done = 0
        self.first = 0
        """Steps of the first epoch that an earlier run has taken."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._task = self._bar.add_task(self._role, total=self._epochs * self._per_epoch, note="")
        if self._console.is_terminal:
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._done, self.first = epoch * self._per_epoch + self.first, 0
        self._bar.update(self._task, completed=self._done)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.update(self._task, completed=self._done + batch + 1)

    def report(self, row: dict[str, Any]) -> None:
        """Shows the row of a finished epoch."""
        note = f"loss {row['total']:.3f}"
        if row["val_AP"] is not None:
            note += f"  val AP {row['val_AP']:.1f}"
            if not self._console.is_terminal:
                left = row["seconds"] / row["epoch"] * (self._epochs - row["epoch"])
                say(
                    self._console,
                    f"{self._role}: epoch {row['epoch']}/{self._epochs}  {note}"
                    f"  {row['seconds']:.0f} s  left {left:.0f} s",
                )
        self._bar.update(self._task, note=note)

    def close(self) -> None:
        """Removes the bar; call it after an error too."""
        self._bar.stop()
