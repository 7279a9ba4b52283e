"""Losses of `keras.distillation` as strategies, for use in `Distiller` beside its own.

Such a loss returns one number for a batch. Here it is applied to one example at a time,
as a batch of one, and the term is `[B]`: the term of an example does not change with the
batch or the number of replicas. Its mean over the batch is Keras's number where the loss
averages. Its scale is Keras's: unlike the terms of this package it changes with a factor
on the source's features, and most anchors that it averages over are empty.

Layer names of a `FeatureDistillation` are names of a detector's outputs (`C4`,
`class_logits`), since the networks run once and return their taps. A `LogitsDistillation`
without names compares `class_logits`; a dict of losses compares the outputs of its keys;
a user's own class gets both networks' dicts of outputs.
"""

from typing import Any, TypeAlias

import keras
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.detection.types import Array, Arrays, ArraysByRole, PerExample
from mkd_tf.strategies.base import Port, Strategy

_KNOWN = (keras.distillation.FeatureDistillation, keras.distillation.LogitsDistillation)
_Names: TypeAlias = str | tuple[str, ...]


def as_strategy(loss: Any, index: int) -> Strategy:
    """Returns a strategy unchanged, and a loss of `keras.distillation` wrapped, with weight 1.

    Args:
      loss: an element of a user's `strategies`.
      index: its index there; part of the term's name.

    Raises:
      MkdError: for anything else.
    """
    if isinstance(loss, Strategy):
        return loss
    if isinstance(loss, keras.distillation.DistillationLoss):
        return KerasDistillation(loss, name=f"{type(loss).__name__}_{index}")
    expected, got = "a strategy or a loss of keras.distillation", type(loss).__name__
    do = "Make one as in SoftClasses() or keras.distillation.FeatureDistillation(...)."
    fail(f"strategies[{index}]", expected=expected, got=got, do=do)


@keras.saving.register_keras_serializable("mkd_tf")
class KerasDistillation(Strategy):
    """A loss of `keras.distillation` as a strategy; see the module.

    >>> mse = keras.losses.MeanSquaredError()
    >>> loss = keras.distillation.FeatureDistillation(mse, teacher_layer_name="C4", student_layer_name="C4")
    >>> strategy = KerasDistillation(loss, weight=0.5, rise=0.1)
    >>> maps = {"C4": ops.ones((2, 2, 2, 1))}, {"C4": ops.zeros((2, 2, 2, 1))}
    >>> ops.convert_to_numpy(strategy(dict(zip(("teacher", "student"), maps)), {})).tolist()
    [1.0, 1.0]

    Args:
      loss: the loss, made with the names of outputs.
      weight: factor of the term in the total.
    """

    options = ("loss",)

    def __init__(
        self,
        loss: keras.distillation.DistillationLoss,
        weight: float = 1.0,
        name: str = "keras_distillation",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        self.loss = loss
        self._reads = _outputs_of(loss, self.name)

    def _connect(self, source: Port, target: Port) -> None:
        if self._reads is None:
            return
        theirs, ours = (
            [port.shape(name) for name in ((names,) if isinstance(names, str) else names)]
            for port, names in zip((source, target), self._reads, strict=True)
        )
        if theirs != ours:
            expected, got = f"outputs of one shape in {self.source} and {self.target}", f"{theirs} and {ours}"
            do = "Losses of Keras have no adapters: use hint, attention_map or soft_classes."
            fail(f"strategy {self.name}", expected=expected, got=got, do=do)
        if isinstance(self.loss, keras.distillation.LogitsDistillation) and 1 in {s[-1] for s in ours}:
            expected, got = "two classes or more, for the softmax of LogitsDistillation", "one class"
            fail(f"strategy {self.name}", expected=expected, got=got, do="Use soft_classes.")

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        if self._reads is not None:
            source, target = _read(source, self._reads[0]), _read(target, self._reads[1])
        source = keras.tree.map_structure(ops.stop_gradient, source)

        def of_one(example: tuple[Any, Any]) -> Array:
            theirs, ours = keras.tree.map_structure(lambda x: ops.expand_dims(x, 0), example)
            return ops.cast(self.loss.compute_loss(theirs, ours), "float32")

        # A loop: a user's own loss may hold operations that a vectorised map cannot convert.
        return ops.map(of_one, (source, target))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KerasDistillation":
        return cls(**(config | {"loss": _loaded(config["loss"])}))


def _loaded(saved: dict[str, Any]) -> keras.distillation.DistillationLoss:
    """Returns the loss of its configuration; Keras writes a dict of losses, and cannot read it."""
    own, losses = saved["config"], saved["config"].get("loss")
    kinds = {kind.__name__: kind for kind in _KNOWN}
    if saved["module"] == "keras.distillation" and isinstance(losses, dict) and "class_name" not in losses:
        read = {key: value and keras.losses.deserialize(value) for key, value in losses.items()}
        return kinds[saved["class_name"]](**(own | {"loss": read}))
    return keras.saving.deserialize_keras_object(saved)


def _read(found: Arrays, names: _Names) -> Array | dict[str, Array]:
    """Returns the outputs of those names: one, or a plain dict (a layer's own dicts are of another type)."""
    return found[names] if isinstance(names, str) else {name: found[name] for name in names}


def _outputs_of(loss: keras.distillation.DistillationLoss, name: str) -> tuple[_Names, _Names] | None:
    """Returns the names of the outputs that a loss compares, `(source's, target's)`; None for all.

    Raises:
      MkdError: if they are ambiguous, or Keras would compute another loss than its name says.
    """
    if not isinstance(loss, _KNOWN):
        return None
    if isinstance(loss, keras.distillation.FeatureDistillation):
        layers = loss.teacher_layer_name, loss.student_layer_name
        if all(layers):
            return layers
        if any(layers) or not isinstance(loss.loss, dict):
            fail(
                f"FeatureDistillation of {name}",
                expected="teacher_layer_name and student_layer_name, or a dict of losses",
                got=f"{layers[0]!r} and {layers[1]!r}",
                do="Name outputs of the detectors, as in teacher_layer_name='C4'.",
            )
    elif keras.losses.kl_divergence in keras.tree.flatten(loss.loss):
        # Given the name, Keras uses the function, for which it leaves out the softmax.
        fail(
            f"LogitsDistillation of {name}",
            expected="loss=keras.losses.KLDivergence()",
            got="its name or function, which Keras applies to logits as if they were probabilities",
            do="Pass the object.",
        )
    if isinstance(loss.loss, dict):
        # An output without a loss is not read, but Keras expects it in the structure.
        names = tuple(loss.loss)
        return names, names
    if isinstance(loss.loss, (list, tuple)):
        expected, got = "one loss or a dict by the outputs' names", type(loss.loss).__name__
        do = "Write {'class_logits': ..., 'box_encodings': ...}."
        fail(f"losses of {name}", expected=expected, got=got, do=do)
    return "class_logits", "class_logits"
