"""The gradients of a training step, in two parts: through the terms, and through the networks.

    L  --terms-->  outputs of the networks that learn  --networks-->  their variables

The guard asks for the gradient of each group of terms at the taps, below the heads. In one tape each
of these would be a way back through a whole network, backbone included: TensorFlow does not stop at
the tensors that are asked for. In two parts the way back through the networks is written down once,
as a function, and is called for each group.

Terms read float32. In mixed precision that is a copy of each output, and the head takes the tap
itself, not its copy: the way back through a network begins and ends at what it returned.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.detection.precision import in_float32
from mkd_tf.detection.types import Array, Arrays, Scalar
from mkd_tf.detectors.base import tap_names


def read_by_terms(made: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """Returns the outputs of networks as terms read them: float32, and a tensor for every name.

    Two taps may be one tensor, whose gradient would count once for each of its names.
    """
    return {role: {name: tf.identity(x) for name, x in in_float32(own).items()} for role, own in made.items()}


class StepGradients:
    """Gradients of what one step minimises.

    Args:
      made: outputs of the networks that learn, by role, as the networks returned them.
      read: the same as `read_by_terms` returns them.
      networks: persistent tape of the networks' forward pass.
      terms: persistent tape of the terms, which watches `read`.
    """

    def __init__(
        self,
        made: Mapping[str, Arrays],
        read: Mapping[str, Arrays],
        networks: tf.GradientTape,
        terms: tf.GradientTape,
    ):
        self._made, self._read, self._networks, self._terms = made, read, networks, terms
        self._pulls: dict[str, Callable[..., list[Array]]] = {}

    def of(self, total: Scalar, variables: Sequence[keras.Variable]) -> list[Any]:
        """Returns the gradient of `total` for each variable, None for one that it does not depend on."""
        outputs, read = (
            [output for own in found.values() for output in own.values()]
            for found in (self._made, self._read)
        )
        count = len(outputs)
        # Adapters' variables are in the terms; a strategy might also read a network's.
        direct = self._terms.gradient(total, [*read, *variables])
        pairs = [
            (x, ops.cast(g, x.dtype)) for x, g in zip(outputs, direct[:count], strict=True) if g is not None
        ]
        if not pairs:
            return direct[count:]
        targets, gradients = map(list, zip(*pairs, strict=True))
        through = self._networks.gradient(targets, variables, output_gradients=gradients)
        return [_sum(a, b) for a, b in zip(direct[count:], through, strict=True)]

    def at_taps(self, role: str, terms: Sequence[Scalar]) -> list[Array]:
        """Returns the gradient of the sum of `terms` at each tap of a network, in float32.

        What reaches a tap through another one that is made of it is part of its gradient.
        """
        own, read = list(self._made[role].values()), list(self._read[role].values())
        found = self._terms.gradient(list(terms), read, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if all(x.dtype == g.dtype for x, g in zip(own, found, strict=True)):
            return self._pull(role)(*found)
        # Gradients of means are below what float16 holds. Its way back is linear: it is gone with a
        # largest gradient of 1, whatever the optimiser scales the loss by.
        largest = ops.maximum(ops.max(ops.stack([ops.max(ops.abs(g)) for g in found])), 1e-30)
        scaled = [ops.cast(g / largest, x.dtype) for x, g in zip(own, found, strict=True)]
        return [ops.cast(g, "float32") * largest for g in self._pull(role)(*scaled)]

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
