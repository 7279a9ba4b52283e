"""Event files for TensorBoard, which hold figures and nothing of the machine.

TensorFlow's own writer puts the host's name into the name of the file. The format is that of
TFRecord files, with one `tf.Event` a record; TensorBoard finds them by `tfevents` in the name.
"""

import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


class EventFile:
    """A new event file in a folder, which is made; every write is on the disk when it returns."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*tfevents*")))
        path = folder / f"events.out.tfevents.{int(time.time())}.mkd_tf.{number}.v2"
        self._file = tf.io.TFRecordWriter(str(path))
        self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers by their tag."""
        parts = [tf.compat.v1.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self.summary(step, tf.compat.v1.Summary(value=parts))

    def summary(self, step: int, summary: Any) -> None:
        """Writes a `Summary` message."""
        serialised = summary.SerializeToString()
        event = tf.compat.v1.Event(wall_time=time.time(), step=step)
        event.summary.ParseFromString(serialised)
        self._write(event)

    def _write(self, event: Any) -> None:
        self._file.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class Events(keras.callbacks.Callback):
    """Writes the figures of every epoch: tags `epoch_*` in `train`, and in `validation` those of `val_*`."""

    def __init__(self, folder: Path):
        super().__init__()
        self._folder = folder
        self._files: dict[str, EventFile] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        parts: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            parts[part][f"epoch_{name.removeprefix('val_')}"] = float(value)
        parts["train"]["epoch_learning_rate"] = float(self.model.optimizer.learning_rate)
        for part, values in parts.items():
            if values:
                if part not in self._files:
                    self._files[part] = EventFile(self._folder / part)
                self._files[part].scalars(epoch, values)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}
