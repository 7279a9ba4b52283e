"""The head of a detector: what predicts classes and boxes from its pyramid maps."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.detection.precision import in_float32
from mkd_tf.detectors.base import PREDICTIONS

Head: TypeAlias = Callable[[Sequence[Any]], dict[str, Any]]


def head_of(detector: keras.Model, taps: Sequence[str]) -> Head:
    """Returns the function from maps to predictions that is a part of a detector, in inference mode.

    It shares the detector's layers, and is found in the graph: everything between the taps
    and the predictions. Gradients pass through it to the maps, and none reach its variables.

    Args:
      detector: on the contract of `detectors.base`.
      taps: names of the maps, in the order in which the function takes them.

    Returns:
      A function of maps `[B, h, w, c]` to `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]`.

    Raises:
      MkdError: if the predictions do not follow from these taps alone.
    """
    core = getattr(detector, "core", None)
    outputs = core.output if core is not None else {}
    missing = [tap for tap in taps if tap not in outputs]
    try:
        if missing:
            raise ValueError(f"no tap {', '.join(missing)} in a single network")
        predictions = {name: outputs[name] for name in PREDICTIONS}
        head = keras.Model([outputs[tap] for tap in taps], predictions, name=f"{detector.name}_head")
    except ValueError as error:
        fail(
            f"head of {detector.name}",
            expected=f"predictions that follow from {', '.join(taps)} alone",
            got=str(error),
            do="Name the maps that its head takes, or leave cross_head out.",
        )

    # A function: a strategy that held the model would count its variables among its own.
    def predict(maps: Sequence[Any]) -> dict[str, Any]:
        frozen = [ops.stop_gradient(ops.convert_to_tensor(v)) for v in head.trainable_variables]
        others = [ops.convert_to_tensor(v) for v in head.non_trainable_variables]
        return dict(in_float32(head.stateless_call(frozen, others, list(maps), training=False)[0]))

    return predict
