"""The gradients of a training step, in two parts: through the terms, and through the networks.

    L  --terms-->  outputs of the networks that learn  --networks-->  their variables

The guard asks for the gradient of each group of terms at the taps, below the heads. In one tape each
of these would be a way back through a whole network, backbone included: TensorFlow does not stop at
the tensors that are asked for. In two parts the way back through the networks is written down once,
as a function, and is called for each group.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mkd_tf.detection.types import Array, Arrays, Scalar
from mkd_tf.detectors.base import tap_names


class StepGradients:
    """Gradients of what one step minimises.

    Args:
      made: outputs of the networks that learn, by role.
      networks: persistent tape of their forward pass.
      terms: persistent tape of the terms, which watches `made`.
    """

    def __init__(self, made: Mapping[str, Arrays], networks: tf.GradientTape, terms: tf.GradientTape):
        self._made, self._networks, self._terms = made, networks, terms
        self._pulls: dict[str, Callable[..., list[Array]]] = {}

    def of(self, total: Scalar, variables: Sequence[keras.Variable]) -> list[Any]:
        """Returns the gradient of `total` for each variable, None for one that it does not depend on."""
        outputs = [output for own in self._made.values() for output in own.values()]
        count = len(outputs)
        # Adapters' variables are in the terms; a strategy might also read a network's.
        direct = self._terms.gradient(total, [*outputs, *variables])
        pairs = [pair for pair in zip(outputs, direct[:count], strict=True) if pair[1] is not None]
        if not pairs:
            return direct[count:]
        targets, gradients = map(list, zip(*pairs, strict=True))
        through = self._networks.gradient(targets, variables, output_gradients=gradients)
        return [_sum(a, b) for a, b in zip(direct[count:], through, strict=True)]

    def at_taps(self, role: str, terms: Sequence[Scalar]) -> list[Array]:
        """Returns the gradient of the sum of `terms` at each tap of a network.

        What reaches a tap through another one that is made of it is part of its gradient.
        """
        own = list(self._made[role].values())
        found = self._terms.gradient(list(terms), own, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return self._pull(role)(*found)

    def _pull(self, role: str) -> Callable[..., list[Array]]:
        """Returns the function from gradients at all outputs of a network to those at its taps."""
        outputs = self._made[role]
        own, taps = list(outputs.values()), [outputs[name] for name in tap_names(outputs)]

        def pull(*given: Array) -> list[Array]:
            zero = tf.UnconnectedGradients.ZERO
            return self._networks.gradient(own, taps, list(given), unconnected_gradients=zero)

        if tf.executing_eagerly() or tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return pull
        if role not in self._pulls:
            # Of this signature alone: a function that chooses one is traced twice at its first call.
            shapes = [tf.TensorSpec(t.shape, t.dtype) for t in own]
            self._pulls[role] = tf.function(pull, autograph=False).get_concrete_function(*shapes)
        return self._pulls[role]


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
