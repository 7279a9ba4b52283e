"""Arguments of Keras's `compile` and `fit` that a distiller has no use for: refused, never ignored.

A batch of detection holds its own targets, and the objective is the loss. An argument that Keras
accepts and nothing reads would leave its user with the numbers of another experiment.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from mkd_tf.checks import fail

UNUSED_IN_COMPILE = {
    "loss": "The objective is the loss: give strategies=, beta= and box_weight= to the Distiller.",
    "loss_weights": "Give each strategy its weight=, and the Distiller its box_weight=.",
    "metrics": "Every term is logged already; AP is measured by `mkd evaluate`.",
    "weighted_metrics": "Every term is logged already; AP is measured by `mkd evaluate`.",
}
UNUSED_IN_FIT = {
    "y": "The targets are part of each batch: mkd_tf.batches_of makes them.",
    "class_weight": "An anchor has a class and an image has many: repeat images of rare classes instead.",
    "sample_weight": "Weights of boxes are part of the targets (weights of targets.assign).",
}
"""Argument and what to do instead."""


def given_of(method: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a call of a `keras.Model` method by name, without `self`.

    A call that does not fit the method is left to the method, which names the mistake.
    """
    try:
        bound = inspect.signature(inspect.unwrap(method)).bind(None, *args, **kwargs)
    except TypeError:
        return dict(kwargs)
    return {name: value for name, value in bound.arguments.items() if name != "self"}


def refuse(given: Mapping[str, Any], unused: Mapping[str, str], where: str) -> None:
    """Fails for an argument that is given and that nothing would use.

    Raises:
      MkdError: naming it and what serves instead.
    """
    for name, instead in unused.items():
        if given.get(name) is not None:
            got = type(given[name]).__name__
            fail(f"{name} of {where}", expected="none", got=f"a {got}", do=instead)


def batch_of(data: Any) -> Any:
    """Returns the batch of what Keras gives a step: one itself, from `fit`, or `(x, y, sample_weight)`.

    Raises:
      MkdError: for a `y` or `sample_weight`, which nothing would use.
    """
    batch, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    refuse({"y": y, "sample_weight": sample_weight}, UNUSED_IN_FIT, "a step of Distiller")
    return batch
