"""AdamW as one operation a variable, and with a lower learning rate for a part of them: fine-tuning.

Keras writes a step of AdamW as thirty operations a variable, and asks the schedule for its rate
anew for each. Small detectors have many small variables: tracing these operations, optimising
their graph and starting them takes longer than their arithmetic. TensorFlow's kernel does the same
in one; what all variables share is computed once.

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
import tensorflow as tf
from keras import ops

from mkd_tf.distillation.replicas import replica_count

UNDECAYED = ("bias", "gamma", "beta")
"""Names of variables without weight decay: of biases and batch norms."""


@keras.saving.register_keras_serializable("mkd_tf")
class FusedAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, to rounding, with one operation a variable; takes its arguments."""

    def __init__(self, learning_rate: Any = 0.001, **options: Any):
        super().__init__(learning_rate, **options)
        self._rate: Any = None
        self._shared: Any = None

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        # The threads of several replicas share the optimiser, but no tensors.
        if replica_count() == 1:
            self._rate, self._shared = self.learning_rate, self._of_step()
        try:
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self._rate = self._shared = None

    def _of_step(self) -> dict[str, Any]:
        """Returns what a step of every variable takes, as float32; steps count from 1."""
        step = ops.cast(self.iterations + 1, "float32")
        betas = {"beta1": tf.constant(self.beta_1), "beta2": tf.constant(self.beta_2)}
        powers = {f"{name}_power": ops.power(beta, step) for name, beta in betas.items()}
        return betas | powers | {"epsilon": tf.constant(self.epsilon)}

    def _get_current_learning_rate(self) -> Any:
        return super()._get_current_learning_rate() if self._rate is None else self._rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        number, dtype = self._get_variable_index(variable), variable.dtype
        variable, momentum, velocity = (
            v.value if isinstance(v, keras.Variable) else v
            for v in (variable, self._momentums[number], self._velocities[number])
        )
        shared = (self._shared or self._of_step()) | {"lr": learning_rate, "grad": gradient}
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            **{name: tf.cast(tf.convert_to_tensor(value), dtype) for name, value in shared.items()},
        )


@keras.saving.register_keras_serializable("mkd_tf")
class PartwiseAdamW(FusedAdamW):
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
) -> FusedAdamW:
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
        optimizer = FusedAdamW(learning_rate, **options)
    optimizer.exclude_from_weight_decay([variables[i] for i in scaled], list(UNDECAYED))
    optimizer.build(variables)
    return optimizer
