"""Running means of a step's scalars: one metric for all of them."""

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mkd_tf.detection.types import Array, Scalar


class Means(keras.metrics.Metric):
    """The mean of each of several values over all elements of all batches, as `keras.metrics.Mean` has it.

    A metric for each value would add a dozen operations to every step for each of them; here a step
    adds one vector of sums and one of counts.

    >>> means = Means(("classes", "boxes"))
    >>> means.update_state({"classes": [1.0, 3.0], "boxes": 4.0})
    >>> {name: float(mean) for name, mean in means.result().items()}
    {'classes': 2.0, 'boxes': 4.0}

    Args:
      names: of the values, in order; not all of them need be in every batch.
      name: of the metric.
    """

    def __init__(self, names: tuple[str, ...], name: str = "means"):
        super().__init__(name=name)
        self.names = names
        self._sums, self._counts = (
            self.add_variable((len(names),), keras.initializers.Zeros(), name=part)
            for part in ("sums", "counts")
        )

    def update_state(self, values: Mapping[str, Any]) -> None:
        """Adds the elements of each value, a number or a tensor of a known shape."""
        given = {name: ops.cast(ops.convert_to_tensor(v), "float32") for name, v in values.items()}
        zero = ops.zeros(())
        sums = [ops.sum(given[name]) if name in given else zero for name in self.names]
        counts = [_size(given[name]) if name in given else 0 for name in self.names]
        self._sums.assign_add(ops.stack(sums))
        self._counts.assign_add(ops.cast(ops.convert_to_tensor(counts), "float32"))

    def result(self) -> dict[str, Scalar]:
        """Returns the means by name; 0 of a value that was never given."""
        means = ops.unstack(ops.divide_no_nan(self._sums, self._counts), num=len(self.names))
        return dict(zip(self.names, means, strict=True))


def _size(value: Array) -> Any:
    return ops.size(value) if None in value.shape else math.prod(value.shape)
