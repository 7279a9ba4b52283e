"""Adapter: any Keras functional model becomes a detector on the contract of `detectors.base`.

The user names the outputs and, for strategies that compare feature maps, taps of any names.
The model is not copied: training the detector trains the model's own layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mkd_tf.checks import check_positive, check_shape, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors.base import PREDICTIONS, Detector
from mkd_tf.detectors.tensor_lookup import (
    Reference,
    check_no_activation,
    connected,
    find_tensor,
    flat_graph,
    refuse,
)


@keras.saving.register_keras_serializable("mkd_tf")
class AdaptedDetector(Detector):
    """A detector made of a user's model; `adapt` builds it and has an example.

    Args:
      core: functional model from one image to the dict of predictions and taps.
      anchors: `Anchors`, or their form in `get_config`.
      class_names, scale, offset, name: as in `adapt`.
    """

    def __init__(
        self,
        core: keras.Model,
        anchors: Anchors | Mapping[str, Any],
        class_names: Sequence[str],
        scale: float = 1.0,
        offset: float = 0.0,
        name: str = "adapted",
    ):
        if not isinstance(anchors, Anchors):
            anchors = Anchors.from_boxes(**anchors)
        taps = tuple(k for k in core.output if k not in PREDICTIONS)
        super().__init__(core, anchors, class_names, {"name": name}, scaling=(scale, offset), taps=taps)

    def arguments(self) -> dict[str, Any]:
        return {
            "core": keras.saving.serialize_keras_object(self.core),
            "anchors": {
                "boxes": self.anchors.boxes.tolist(),
                "image_size": self.anchors.image_size,
                "level_counts": list(self.anchors.level_counts),
            },
            "class_names": list(self.class_names),
            "scale": self.scaling[0],
            "offset": self.scaling[1],
            "name": self.name,
        }

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any], custom_objects: Any) -> "AdaptedDetector":
        core = keras.saving.deserialize_keras_object(arguments["core"], custom_objects)
        return cls(**(arguments | {"core": core}))


def adapt(
    model: keras.Model,
    *,
    anchors: Anchors | np.ndarray,
    class_names: Sequence[str],
    class_logits: Reference = "class_logits",
    box_encodings: Reference = "box_encodings",
    taps: Mapping[str, Reference] | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    name: str = "adapted",
) -> AdaptedDetector:
    """Makes a detector of a functional model that predicts class logits and box encodings.

    An output is named by its key in the model's dict of outputs, by the layer that
    makes it, or by its KerasTensor.

    Args:
      model: one image input `[B, S, S, 3]` of static size.
      anchors: N of them, as `Anchors` or as `[N, 4]` yxyx in pixels of the input.
      class_names: C names.
      class_logits: the output `[B, N, C]`, before the sigmoid.
      box_encodings: the output `[B, N, 4]` (ty, tx, th, tw), see `boxes.decode`.
      taps: inner maps `[B, h, w, c]` by the name that strategies call them, as in
        `{"C3": "conv3_block4_out"}`. With the names C3 to C5 and P3 to P5 the
        strategies' defaults find them; where they are missing, name taps there.
      scale: factor from images in 0..255 to the input of the model. Integer export and
        compression expect 1/127.5, with offset -1.
      offset: added after scaling.
      name: of the detector.

    Raises:
      MkdError: if an output or tap cannot be found or reached, or has another form.

    Example:
      >>> import keras, mkd_tf
      >>> x = images = keras.Input((64, 64, 3))
      >>> for name in ("C3", "C4", "C5"):
      ...     x = keras.layers.Conv2D(8, 3, strides=4 if name != "C5" else 2, padding="same", name=name)(x)
      >>> logits = keras.layers.Reshape((-1, 2))(keras.layers.Conv2D(2, 1)(x))
      >>> boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(4, 1)(x))
      >>> model = keras.Model(images, {"class_logits": logits, "box_encodings": boxes})
      >>> anchors = mkd_tf.grid_anchors(64, strides=(32,))
      >>> detector = mkd_tf.adapt(model, anchors=anchors, class_names=("cat", "dog"), taps={"C5": "C5"})
      >>> type(detector).__name__, detector.output["C5"].shape
      ('AdaptedDetector', (None, 2, 2, 8))
    """
    graph = flat_graph(model)
    side = _side(graph)
    if not isinstance(anchors, Anchors):
        anchors = Anchors.from_boxes(anchors, side)
    if anchors.image_size != side:
        expected, got = f"anchors for images of {side} px, the model's input", f"{anchors.image_size} px"
        refuse("anchors", expected, got, f"Make them with image_size={side}.")
    named = {"class_logits": class_logits, "box_encodings": box_encodings}
    taken = sorted(set(named) & set(taps or {}))
    if taken:
        refuse("taps", "names of their own", ", ".join(taken), "Rename them.")
    references = named | dict(taps or {})
    titles = {k: k if k in named else f"tap {k}" for k in references}
    found = {k: find_tensor(graph, reference, titles[k]) for k, reference in references.items()}
    core = connected(graph, found, titles)
    _check_forms(found, len(anchors), len(class_names))
    check_no_activation(core, found["class_logits"], "class_logits")
    check_positive("scale of adapt", scale)
    return AdaptedDetector(core, anchors, class_names, scale, offset, name)


def _side(graph: keras.Model) -> int:
    """Returns the side of the model's square input in pixels."""
    shape = tuple(graph.inputs[0].shape)
    if len(graph.inputs) != 1 or len(shape) != 4 or None in shape[1:] or shape[1] != shape[2]:
        got = ", ".join(str(list(i.shape)) for i in graph.inputs)
        do = "Build the model on keras.Input((S, S, 3)) and take over the weights."
        fail(f"input of model {graph.name}", expected="one image [B, S, S, 3] of static size", got=got, do=do)
    return shape[1]


def _check_forms(found: Mapping[str, Any], count: int, num_classes: int) -> None:
    for name, size in (("class_logits", num_classes), ("box_encodings", 4)):
        shape = tuple(found[name].shape)
        if len(shape) != 3:
            do = f"Append keras.layers.Reshape((-1, {size})), and Concatenate(axis=1) to join levels."
            refuse(name, f"[B, N, {size}]", f"{list(shape)}", do)
        if shape[1] != count:
            do = "Give the anchors of every location and level, in the order of the predictions."
            refuse(name, f"N = {count} rows, one per anchor", f"{shape[1]}", do)
        check_shape(f"{name} of adapt", shape, (None, count, size))
    for name in set(found) - set(PREDICTIONS):
        shape = tuple(found[name].shape)
        if len(shape) != 4 or None in shape[1:]:
            do = "Name the output of a convolution."
            refuse(f"tap {name}", "a map [B, h, w, c] of static size", str(list(shape)), do)
