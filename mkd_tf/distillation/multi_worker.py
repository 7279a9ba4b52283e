"""A Keras model whose `fit` works in several processes, each of which has a part of every batch.

Under `MultiWorkerMirroredStrategy` the `fit` of Keras 3.15 fails in two places:

- Before the first step it averages a batch over the workers to build the model, and integers,
  of which targets have some, have no mean. A model that is built already needs no batch.
- After each step it averages every logged value along its first axis, and scalars have none. All
  values of a step are therefore one row `[1, K]`, which is also one message to the other workers in
  place of K.

References: Keras 3.15, `backend/tensorflow/trainer.py`: `_maybe_symbolic_build`, `reduce_per_replica`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.detection.types import Array

_ROW = "row"


def has_workers() -> bool:
    """Whether the present strategy has its replicas in several processes."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


class MultiWorkerModel(keras.Model):
    """Returns its logs from `train_step` and `test_step` through `logged`; is built before `fit`."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if not isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _make_function(self, step_function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function of an iterator that takes a step and returns its logs by name."""
        return self._unpacked(super()._make_function(step_function))

    def logged(self, values: dict[str, Array]) -> dict[str, Array]:
        """Returns what a step returns: its scalars by name, with several workers as one row."""
        if not has_workers():
            return values
        self._logged = tuple(values)
        return {_ROW: tf.stack([tf.cast(v, tf.float32) for v in values.values()])[None]}

    def _unpacked(self, function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
        if not isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return function

        def unpacked(iterator: Any) -> dict[str, Any]:
            logs = function(iterator)
            return dict(zip(self._logged, np.asarray(logs[_ROW]), strict=True))

        return unpacked
