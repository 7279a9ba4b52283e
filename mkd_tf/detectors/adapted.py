"""Adapter: any Keras functional model becomes a detector on the contract of `detectors.base`.

The user names the outputs and, for strategies that compare feature maps, taps of any names.
The model is not copied: training the detector trains the model's own layers. Heads that write
boxes or classes in another way get a layer behind them, within the core (`foreign_heads`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mkd_tf.checks import check_positive, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.box_coders import BOX_CODERS
from mkd_tf.detectors.base import PREDICTIONS, Detector
from mkd_tf.detectors.foreign_heads import BoxEncodings, ClassLogits
from mkd_tf.detectors.head_checks import check_are_logits, check_forms, check_known_heads, class_columns
from mkd_tf.detectors.tensor_lookup import (
    Reference,
    check_no_activation,
    connected,
    find_tensor,
    flat_graph,
    refuse,
)
from mkd_tf.registry import parse_spec


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
    class_names: Sequence[str | None],
    class_logits: Reference = "class_logits",
    box_encodings: Reference = "box_encodings",
    taps: Mapping[str, Reference] | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    name: str = "adapted",
    box_coder: str | None = None,
    background: str | int | None = None,
    activation: str = "sigmoid",
) -> AdaptedDetector:
    """Makes a detector of a functional model that predicts classes and boxes at anchors.

    An output is named by its key in the model's dict of outputs, by the layer that
    makes it, or by its KerasTensor.

    Args:
      model: one image input `[B, S, S, 3]` of static size.
      anchors: N of them, as `Anchors` or as `[N, 4]` yxyx in pixels of the input. For
        distances (`yolo`, `fcos`) their centres are the points, and `Anchors` need their levels.
      class_names: of the K columns of `class_logits` but the background; None for an unused
        column, which is left out. The detector has the C others.
      class_logits: the output `[B, N, K]`, before its activation.
      box_encodings: the output `[B, N, 4]`: (ty, tx, th, tw), see `boxes.decode`, or what
        `box_coder` says.
      taps: inner maps `[B, h, w, c]` by the name that strategies call them, as in
        `{"C3": "conv3_block4_out"}`. With the names C3 to C5 and P3 to P5 the
        strategies' defaults find them; where they are missing, name taps there.
      scale: factor from images in 0..255 to the input of the model. Integer export and
        compression expect 1/127.5, with offset -1.
      offset: added after scaling.
      name: of the detector.
      box_coder: how the head writes boxes, a spec of `BOX_CODERS`: `ssd` (the default),
        `keras_hub`, `torchvision(weights=(1, 1, 1, 1))`, `efficientdet`, `yolo(bins=16)`, `fcos`.
      background: column of the background class: `first`, `last`, a number, or None without one.
      activation: of the classes, `sigmoid` or `softmax`.

    Returns:
      A detector on the contract of every other, whose outputs are class logits before a
      sigmoid and our box encodings; it teaches and learns as any other.

    Raises:
      MkdError: if an output or tap cannot be found or reached, or has another form, or if what
        is said about the head cannot be right.

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

      The same outputs, read as a softmax over background and cat, and boxes as distances:

      >>> softmax = {"activation": "softmax", "background": "first", "box_coder": "fcos"}
      >>> detector = mkd_tf.adapt(model, anchors=anchors, class_names=("cat",), **softmax)
      >>> detector.output["class_logits"].shape, detector.output["box_encodings"].shape
      ((None, 4, 1), (None, 4, 4))
    """
    graph = flat_graph(model)
    check_known_heads(model, box_coder)
    side = _side(graph)
    if not isinstance(anchors, Anchors):
        anchors = Anchors.from_boxes(anchors, side)
    if anchors.image_size != side:
        expected, got = f"anchors for images of {side} px, the model's input", f"{anchors.image_size} px"
        refuse("anchors", expected, got, f"Make them with image_size={side}.")
    check_positive("scale of adapt", scale)
    names, columns, total = class_columns(class_names, background, activation)
    spec = parse_spec(box_coder or "ssd", BOX_CODERS.kind)
    coder = BOX_CODERS.build(spec)
    named = {"class_logits": class_logits, "box_encodings": box_encodings}
    taken = sorted(set(named) & set(taps or {}))
    if taken:
        refuse("taps", "names of their own", ", ".join(taken), "Rename them.")
    references = named | dict(taps or {})
    titles = {k: k if k in named else f"tap {k}" for k in references}
    found = {k: find_tensor(graph, reference, titles[k]) for k, reference in references.items()}
    core = connected(graph, found, titles)
    check_forms(found, references, len(anchors), total, coder.columns)
    check_no_activation(core, found["class_logits"], "class_logits")
    check_are_logits(core, activation, scale, offset)
    # No layer where there is nothing to convert: such a core is the user's graph alone.
    if activation != "sigmoid" or len(columns) < total:
        found["class_logits"] = ClassLogits(activation, columns, name="to_class_logits")(
            found["class_logits"]
        )
    if not coder.is_ours:
        convert = BoxEncodings(str(spec), coder.units(anchors), name="to_box_encodings")
        found["box_encodings"] = convert(found["box_encodings"])
    core = connected(graph, found, titles)
    return AdaptedDetector(core, anchors, names, scale, offset, name)


def _side(graph: keras.Model) -> int:
    """Returns the side of the model's square input in pixels."""
    shape = tuple(graph.inputs[0].shape)
    if len(graph.inputs) != 1 or len(shape) != 4 or None in shape[1:] or shape[1] != shape[2]:
        got = ", ".join(str(list(i.shape)) for i in graph.inputs)
        do = "Build the model on keras.Input((S, S, 3)) and take over the weights."
        fail(f"input of model {graph.name}", expected="one image [B, S, S, 3] of static size", got=got, do=do)
    return shape[1]
