"""What is checked about the heads of an adapted model before anything learns from them.

Every check refuses what cannot be right; what it refuses would otherwise train without
an error and teach nonsense.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mkd_tf.checks import check_one_of
from mkd_tf.detectors.base import PREDICTIONS
from mkd_tf.detectors.foreign_heads import HEAD_ACTIVATIONS
from mkd_tf.detectors.tensor_lookup import Reference, refuse

_BACKGROUND_NAMES = ("background", "__background__")
# Parts of the names that outputs usually have.
_BOX_WORDS = ("box", "offset", "delta", "regress", "loc", "distance", "ltrb")
_CLASS_WORDS = ("class", "cls", "logit", "score", "conf", "label", "prob")
# So many values of a head with random weights are not all within 0..1 by chance.
_ENOUGH_VALUES = 64


def class_columns(
    names: Sequence[str | None], background: str | int | None, activation: str
) -> tuple[tuple[str, ...], tuple[int, ...], int]:
    """Returns the classes that a head has names for, their columns, and how many columns it has.

    Args:
      names: of the columns without the background, in their order; None for an unused one.
      background: its column: `first`, `last`, a number from 0, or None without one.
      activation: one of `HEAD_ACTIVATIONS`.

    Raises:
      MkdError: if they contradict each other.
    """
    check_one_of("activation of adapt", activation, HEAD_ACTIVATIONS)
    names = tuple(names)
    total = len(names) + (background is not None)
    if activation == "softmax" and background is None:
        expected = "a background class, since the probabilities of a softmax sum to one at every location"
        refuse("background", expected, "None", "Pass background='first' or 'last', as the head has it.")
    if isinstance(background, bool) or background not in (None, "first", "last", *range(total)):
        expected, do = f"first, last, a column from 0 to {total - 1}, or None", "Say where the head has it."
        refuse("background", expected, repr(background), do)
    for name in names:
        if isinstance(name, str) and name.lower() in _BACKGROUND_NAMES:
            do = f"Leave {name!r} out and pass background={'first' if name == names[0] else 'last'!r}."
            refuse("class_names", "names of objects alone", repr(name), do)
    kept = [name for name in names if name is not None]
    twice = sorted({name for name in kept if kept.count(name) > 1})
    if twice or not kept:
        got = f"{', '.join(twice)} more than once" if twice else "no name"
        refuse("class_names", "a name of its own for each class", got, "Put None for an unused column.")
    place = 0 if background == "first" else total - 1 if background == "last" else background
    columns = [c for c in range(total) if c != place]
    return tuple(kept), tuple(c for c, name in zip(columns, names, strict=True) if name is not None), total


def check_forms(
    found: Mapping[str, Any], references: Mapping[str, Reference], count: int, total: int, box_columns: int
) -> None:
    """Raises `MkdError` unless the outputs have the form of heads, and the others that of taps.

    Args:
      found: the tensors of `class_logits`, `box_encodings` and the taps.
      references: what the user called them.
      count: N anchors.
      total: columns of the class head, with the background.
      box_columns: columns of the box head.
    """
    if found["class_logits"] is found["box_encodings"]:
        do = "Name one output for the classes and another one for the boxes."
        refuse("box_encodings", "another output than class_logits", "the same tensor", do)
    if total == box_columns and _are_swapped(references):
        got = f"{references['class_logits']!r} for classes and {references['box_encodings']!r} for boxes"
        do = f"Both have {total} columns, so only their names tell them apart: exchange them, or rename them."
        refuse("class_logits", "the classes' output", got, do)
    for name, size in (("class_logits", total), ("box_encodings", box_columns)):
        shape = tuple(found[name].shape)
        if len(shape) != 3:
            do = f"Append keras.layers.Reshape((-1, {size})), and Concatenate(axis=1) to join levels."
            refuse(name, f"[B, N, {size}]", f"{list(shape)}", do)
        expected, got = f"shape {[None, count, size]}", f"shape {list(shape)}"
        if shape[1:] == (size, count) != (count, size):
            refuse(name, expected, got, "Append keras.layers.Permute((2, 1)).")
        if shape[1] != count:
            do = "Give the anchors of every location and level, in the order of the predictions."
            refuse(name, f"N = {count} rows, one per anchor", f"{shape[1]}", do)
        if shape[2] != size:
            advice = _class_advice if name == "class_logits" else _box_advice
            refuse(name, expected, got, advice(shape[2], size))
    for name in set(found) - set(PREDICTIONS):
        shape = tuple(found[name].shape)
        if len(shape) != 4 or None in shape[1:]:
            do = "Name the output of a convolution."
            refuse(f"tap {name}", "a map [B, h, w, c] of static size", str(list(shape)), do)


def _are_swapped(references: Mapping[str, Reference]) -> bool:
    """Whether the names of the two outputs say the opposite of what they are given as."""

    def has(role: str, words: Sequence[str]) -> bool:
        name = references[role]
        return any(word in str(getattr(name, "name", name)).lower() for word in words)

    classes, boxes = "class_logits", "box_encodings"
    looks_like_boxes = has(classes, _BOX_WORDS) and not has(classes, _CLASS_WORDS)
    return looks_like_boxes and has(boxes, _CLASS_WORDS) and not has(boxes, _BOX_WORDS)


def _class_advice(got: int, expected: int) -> str:
    if got == expected + 1:
        return (
            "If one column is the background, pass background='first' or 'last' (and activation='softmax' "
            "for a softmax head); else name every class."
        )
    if got in (expected + 4, expected + 5):
        return "It seems to hold boxes and classes together: give the slices, as in output[..., 4:]."
    if got == expected - 1:
        return "If there is no background class, leave background out; else name the classes of this head."
    return "Give one name per column, and None for a column that is unused."


def _box_advice(got: int, expected: int) -> str:
    if got % 4 == 0 and expected == 4:
        return f"A head of distributions needs box_coder='yolo(bins={got // 4})'."
    return "Choose the box_coder of this head."


def check_known_heads(model: keras.Model, box_coder: str | None) -> None:
    """Raises `MkdError` for a keras-hub detector whose boxes would be misread."""
    kinds = {type(layer).__name__ for layer in _layers(model) if _library(layer) == "keras_hub"}
    if any(kind.startswith("DFine") for kind in kinds):
        expected, got = (
            "a detector with anchors",
            "D-FINE of keras-hub, which predicts a set of boxes without",
        )
        do = "It can teach by its detections alone: see docs/foreign_heads.md."
        refuse("model", expected, got, do)
    if "PredictionHead" in kinds and box_coder is None:
        expected, got = "the box coder of this head", "none, and the head of keras-hub's RetinaNet"
        do = (
            "Use mkd_tf.from_keras_hub(detector, class_names=...), or pass box_coder='keras_hub' (or 'ssd', "
            "if this head was trained on the box encodings of this package)."
        )
        refuse("box_coder", expected, got, do)


def _layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields a layer and, of a model, those inside."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from _layers(inner)


def _library(layer: keras.layers.Layer) -> str:
    return type(layer).__module__.split(".")[0]


def check_are_logits(core: keras.Model, activation: str, scale: float, offset: float) -> None:
    """Raises `MkdError` if the values of `class_logits`, on noise and on a flat image, are probabilities.

    It finds what the graph does not show: a softmax inside a layer of the user's own.
    """
    shape = core.input_shape[1:]
    noise = np.random.default_rng(0).uniform(0.0, 255.0, shape)
    images = np.stack([noise, np.full(shape, 127.5)]).astype("float32") * scale + offset
    values = keras.ops.convert_to_numpy(core(images, training=False)["class_logits"]).astype("float64")
    do = "Take the output before its activation."
    if values.min() >= 0 and values.max() <= 1:
        if values.shape[-1] > 1 and np.allclose(values.sum(-1), 1, atol=1e-3):
            refuse("class_logits", "logits", "values in 0..1 that sum to one, probabilities of a softmax", do)
        if values.size >= _ENOUGH_VALUES and values.min() < values.max():
            refuse("class_logits", "logits", "values that all lie in 0..1, which are probabilities", do)
    sums = np.exp(np.minimum(values, 1.0)).sum(-1)
    if activation == "sigmoid" and values.shape[-1] > 1 and np.allclose(sums, 1, atol=1e-3):
        got = "logarithms of probabilities that sum to one, the output of a log-softmax"
        refuse("class_logits", "logits of a sigmoid", got, "Pass activation='softmax' and the background.")
