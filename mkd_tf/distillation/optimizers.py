"""AdamW whose learning rate is lower for a part of the variables: fine-tuning.

A backbone that starts from pretrained weights needs small steps, while the pyramid and the
head, which start from random ones, need large ones. Adam divides by a gradient's size, so
that scaled gradients would change nothing: the rate itself is scaled, and with it the weight
decay, which is a share of the rate.

Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (AdamW;
the decay multiplies the schedule's rate).
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

UNDECAYED = ("bias", "gamma", "beta")
"""Names of variables without weight decay: of biases and batch norms."""


@keras.saving.register_keras_serializable("mkd_tf")
class PartwiseAdamW(keras.optimizers.AdamW):
    """AdamW with a factor on the learning rate of some variables.

    Args:
      learning_rate: a number or a schedule, of the other variables.
      scale: the factor.
      scaled: numbers of the variables it is for, in the order of `build`.
      scaled_decay: which of them have weight decay. The optimiser applies that itself, at the
        scaled rate: exclude all of `scaled` from its common decay.
      **options: of `keras.optimizers.AdamW`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        scale: float = 1.0,
        scaled: Sequence[int] = (),
        scaled_decay: Sequence[int] = (),
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.scale = scale
        # Sets: Keras tracks the lists of an optimiser as if they held variables.
        self._scaled, self._decayed = frozenset(scaled), frozenset(scaled_decay)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        number = self._get_variable_index(variable)
        if number in self._scaled:
            learning_rate = ops.cast(learning_rate, variable.dtype) * self.scale
            if number in self._decayed and self.weight_decay:
                self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        parts = {"scale": self.scale, "scaled": sorted(self._scaled), "scaled_decay": sorted(self._decayed)}
        return super().get_config() | parts


def adamw(
    learning_rate: Any,
    variables: Sequence[keras.Variable],
    slow: Sequence[keras.Variable] = (),
    scale: float = 1.0,
    **options: Any,
) -> keras.optimizers.AdamW:
    """Returns AdamW for `variables`, built; biases and batch norms do not decay.

    Args:
      learning_rate: a number or a schedule.
      variables: all that it moves.
      slow: those of them that move at `scale` times the learning rate.
      scale: a factor above 0.
      **options: of `keras.optimizers.AdamW`.
    """
    chosen = {id(v) for v in slow} if scale != 1 else set()
    scaled = [i for i, v in enumerate(variables) if id(v) in chosen]
    if scaled:
        decayed = [i for i in scaled if not any(name in variables[i].name for name in UNDECAYED)]
        optimizer = PartwiseAdamW(learning_rate, scale=scale, scaled=scaled, scaled_decay=decayed, **options)
    else:
        optimizer = keras.optimizers.AdamW(learning_rate, **options)
    optimizer.exclude_from_weight_decay([variables[i] for i in scaled], list(UNDECAYED))
    optimizer.build(variables)
    return optimizer
