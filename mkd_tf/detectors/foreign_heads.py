"""Layers that turn the heads of other libraries into the predictions of this package.

They stand at the end of an adapted model's core, so that losses, strategies, evaluation
and exports see class logits before a sigmoid and the box encodings of `boxes`, whatever
the head was. A head with a softmax over K columns, one of them the background, has the
class probabilities p = softmax(z). The logit whose sigmoid is the same p_c is

    z_c - log sum_{k != c} exp(z_k)  =  log p_c - log(1 - p_c)

Computed as written the right side is minus infinity or NaN at p near 1; see
`sigmoid_logits`. It is differentiable, so a student of this head learns by it.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.detection.box_coders import BOX_CODERS
from mkd_tf.detection.types import Array, Boxes, Float, Logits

HEAD_ACTIVATIONS = ("sigmoid", "softmax")
"""What a head's logits are meant for."""
_LARGE = 0.7  # At most one of several probabilities is above it, whatever their rounding.


def sigmoid_logits(softmax_logits: Float[Array, "batch anchors columns"]) -> Logits:
    """Returns the logits whose sigmoids are the softmax of these, over the last axis.

    Args:
      softmax_logits: `[B, N, K]`, K at least 2.

    Returns:
      `[B, N, K]` float32, finite and exact to rounding at any probability.
    """
    z = ops.cast(softmax_logits, "float32")
    p = ops.softmax(z, axis=-1)
    # Of a probability near 1, 1 - p is summed over the other columns: p itself is 1 in float32
    # where z is 17 above the others. There is at most one such column; for the others 1 - p is exact.
    is_large = p > _LARGE
    # In place of it the smallest column, not minus infinity, which would be the range of an integer file.
    others = ops.where(is_large, ops.min(z, axis=-1, keepdims=True), z)
    most = ops.max(others, axis=-1, keepdims=True)
    rest = most + ops.log(
        ops.sum(
            ops.exp(others - most) * ops.cast(ops.logical_not(is_large), "float32"), axis=-1, keepdims=True
        )
    )
    # The branch that is not taken must be finite too, or its gradient is NaN.
    by_share = ops.log_softmax(z, axis=-1) - ops.log(1.0 - ops.where(is_large, 0.0, p))
    return ops.where(is_large, z - rest, by_share)


@keras.saving.register_keras_serializable("mkd_tf")
class ClassLogits(keras.layers.Layer):
    """Class logits before a sigmoid, `[B, N, C]`, of a head's `[B, N, K]`.

    Args:
      activation: of the head, one of `HEAD_ACTIVATIONS`.
      columns: C columns of the head that are classes; the others are the background or unused.
    """

    def __init__(self, activation: str, columns: Sequence[int], **kwargs: Any):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.activation = activation
        self.columns = tuple(columns)

    def call(self, inputs: Array) -> Array:
        logits = ops.cast(inputs, "float32")
        if self.activation == "softmax":
            logits = sigmoid_logits(logits)
        first, last = self.columns[0], self.columns[-1]
        if self.columns == tuple(range(first, last + 1)):
            return logits[..., first : last + 1]  # A slice is exported where a gather may not be.
        return ops.take(logits, np.asarray(self.columns, "int32"), axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], len(self.columns))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation, "columns": list(self.columns)}


@keras.saving.register_keras_serializable("mkd_tf")
class BoxEncodings(keras.layers.Layer):
    """Box encodings (ty, tx, th, tw), `[B, N, 4]`, of what a head writes.

    Args:
      coder: a spec of `BOX_CODERS`.
      units: of the coder, for the anchors of the detector.
    """

    def __init__(self, coder: str, units: Any = None, **kwargs: Any):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.coder = coder
        self._coder = BOX_CODERS.build(coder)
        self._units = None if units is None else np.asarray(units, "float32")

    def call(self, inputs: Array) -> Boxes:
        return self._coder.encodings(inputs, self._units)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], 4)

    def get_config(self) -> dict[str, Any]:
        units = None if self._units is None else self._units.tolist()
        return super().get_config() | {"coder": self.coder, "units": units}
