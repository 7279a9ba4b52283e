"""The gradients of a training step, in two parts: through the terms, and through the networks.

    L  --terms-->  outputs of the networks that learn  --networks-->  their variables

The terms' gradients at those outputs are taken group by group: the step's is their weighted sum, and
the guard sends each of them on to the taps, below the heads. In one tape each of these would be a way
back through a whole network, backbone included: TensorFlow does not stop at the tensors that are asked
for. The way back through the networks is written down once, as a function, and is called for each group.

A group that is not due costs nothing: its terms and their gradient are within one condition. (The
gradient of a condition would be a second one, and the guard's a third.)

Terms read float32. In mixed precision that is a copy of each output, and the head takes the tap
itself, not its copy: the way back through a network begins and ends at what it returned.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.detection.precision import in_float32
from mkd_tf.detection.types import Array, Arrays, Bool, PerExample, Scalar
from mkd_tf.detectors.base import tap_names
from mkd_tf.distillation.replicas import replica_count

Group = tuple[str, ...]
"""Names of terms whose gradient is taken as one."""


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
      variables: that learn.
    """

    def __init__(
        self,
        made: Mapping[str, Arrays],
        read: Mapping[str, Arrays],
        networks: tf.GradientTape,
        variables: Sequence[keras.Variable],
    ):
        self._made, self._networks, self._variables = made, networks, list(variables)
        self._outputs = [(role, name) for role, own in made.items() for name in own]
        self._sources = [*(read[role][name] for role, name in self._outputs), *variables]
        self._found: dict[Group, dict[int, Array]] = {}
        self._pulls: dict[str, Callable[..., list[Array]]] = {}
        self._has_gaps = False

    def add(
        self, group: Group, compute: Callable[[], Mapping[str, PerExample]], is_due: Bool[Array, ""] | None
    ) -> dict[str, PerExample]:
        """Returns a group's terms; keeps the gradient of the sum of their means over the whole batch.

        Args:
          group: names of the terms.
          compute: returns them, made of what terms read.
          is_due: whether they are computed; they are 0 otherwise. None for always.
        """
        present: list[int] = []

        def differentiated() -> tuple[dict[str, PerExample], list[Array]]:
            with tf.GradientTape() as tape:
                tape.watch(self._sources[: len(self._outputs)])
                terms = dict(compute())
                mean = sum(ops.mean(term) for term in terms.values()) / replica_count()
            # Adapters' variables are in the terms; a strategy might also read a network's.
            gradients = tape.gradient(mean, self._sources)
            present.extend(i for i, g in enumerate(gradients) if g is not None)
            return terms, [tf.convert_to_tensor(gradients[i]) for i in present]

        def nothing() -> tuple[dict[str, PerExample], list[Array]]:
            # Traced after the other way, which has found what there is a gradient for; eagerly alone.
            self._has_gaps |= tf.executing_eagerly()
            none = ops.zeros(ops.shape(self._sources[0])[:1])
            return dict.fromkeys(group, none), [ops.zeros_like(self._sources[i]) for i in present]

        found = differentiated() if is_due is None else tf.cond(is_due, differentiated, nothing)
        self._found[group] = dict(zip(present, found[1], strict=True))
        return found[0]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that were added."""
        return tuple(self._found)

    def of(self, weights: Mapping[Group, Scalar | float]) -> list[Any]:
        """Returns the gradient of the weighted sum of all groups for each variable.

        It is None for a variable on which nothing depends.

        Args:
          weights: of every group that was added.
        """
        sums: dict[int, Array] = {}
        for group, found in self._found.items():
            for i, gradient in found.items():
                own = weights[group] * gradient
                sums[i] = sums[i] + own if i in sums else own
        count = len(self._outputs)
        direct = [sums.get(count + i) for i in range(len(self._variables))]
        if self._has_gaps:
            # An optimiser goes on with a variable whose terms are not due, as it does in a graph.
            direct = [
                ops.zeros_like(v) if g is None else g for g, v in zip(direct, self._variables, strict=True)
            ]
        outputs = [self._made[role][name] for role, name in self._outputs]
        pairs = [(x, ops.cast(sums[i], x.dtype)) for i, x in enumerate(outputs) if i in sums]
        if not pairs:
            return direct
        targets, gradients = map(list, zip(*pairs, strict=True))
        through = self._networks.gradient(targets, self._variables, output_gradients=gradients)
        return [_sum(a, b) for a, b in zip(direct, through, strict=True)]

    def at_taps(self, role: str, group: Group) -> list[Array]:
        """Returns a group's gradient at each tap of a network, before its weight, in float32.

        What reaches a tap through another one that is made of it is part of its gradient.
        """
        found = self._found[group]
        own = list(self._made[role].values())
        places = [i for i, (of, _) in enumerate(self._outputs) if of == role]
        given = [found[i] if i in found else ops.zeros_like(self._sources[i]) for i in places]
        if all(x.dtype == g.dtype for x, g in zip(own, given, strict=True)):
            return self._pull(role)(*given)
        # Gradients of means are below what float16 holds. Its way back is linear: it is gone with a
        # largest gradient of 1, whatever the optimiser scales the loss by.
        largest = ops.maximum(ops.max(ops.stack([ops.max(ops.abs(g)) for g in given])), 1e-30)
        scaled = [ops.cast(g / largest, x.dtype) for x, g in zip(own, given, strict=True)]
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
