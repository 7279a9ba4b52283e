"""Losses are computed in float32, whatever precision the networks run in.

A half precision number has 8 or 11 bits: sums over thousands of anchors and differences of
boxes need more. The networks follow Keras's dtype policy; their outputs are cast once, where
they reach the losses, and the layers of the strategies are float32.
"""

from typing import Any

import keras
from keras import ops

from mkd_tf.detection.types import Arrays


def in_float32(outputs: Arrays) -> Arrays:
    """Returns a network's outputs as float32; those that are, as they are."""
    return {
        name: x if keras.backend.standardize_dtype(x.dtype) == "float32" else ops.cast(x, "float32")
        for name, x in outputs.items()
    }


class LayerPrecision:
    """A context: layers that are made within have a dtype policy, whatever Keras's global one is.

    Args:
      policy: `float32`, `mixed_bfloat16` or `mixed_float16`, where weights stay float32 and
        layers compute in the other type.
    """

    def __init__(self, policy: str = "float32"):
        self._policy = policy

    def __enter__(self) -> None:
        self._before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self._policy)

    def __exit__(self, *error: Any) -> None:
        keras.config.set_dtype_policy(self._before)
