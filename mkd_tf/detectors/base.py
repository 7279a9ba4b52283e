"""The contract of a detector.

A functional `keras.Model` from images `[B, S, S, 3]` float32 in 0..255 to a dict:

    class_logits     `[B, N, C]`, before the sigmoid
    box_encodings    `[B, N, 4]` (ty, tx, th, tw), see `boxes.decode`
    C3, C4, C5       backbone taps `[B, h, w, c]` at strides 8, 16, 32
    P3, P4, P5       pyramid taps at the same strides
    box_logits       `[B, N, 4, bins]`, only of a head with bins (`layers.predictions`):
                     before the softmax over `losses.bin_values`; for training alone

It is a `Rescaling` to [-1, 1] followed by `core`. Compression and integer export
convert `core`: its input quantisation then *is* the normalisation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mkd_tf.checks import check_shape, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors.limits import check_file_form
from mkd_tf.schemas.training import OperatingPoint

PREDICTIONS = ("class_logits", "box_encodings")
TAPS = ("C3", "C4", "C5", "P3", "P4", "P5")
NO_TAPS = ("box_logits",)
"""Outputs of four dimensions that are no feature maps."""


class Detector(keras.Model):
    """A detector that knows its anchors, its classes and the arguments that rebuild it.

    Attributes:
      core: the functional model from images in -1..1 to the dict of outputs.
      anchors: one anchor per location, in the order of the outputs' N.
      class_names: C names, in the order of the logits.
      image_size: side of the square input in pixels.
      scaling: factor and offset from 0..255 to what `core` takes: to -1..1, except
        in an adapted model.
      is_quantized: whether it emulates integers, and holds the ranges of an integer file.
      operating_point: the score from which on its detections are shown, as found on validation
        at the end of a training; a part of its file. None where it is not known.

    Args:
      config: the keyword arguments of the subclass's constructor, for `get_config`.
      taps: names of the maps that it returns beside its predictions.

    Example:
      >>> import mkd_tf
      >>> detector = mkd_tf.Tiny(image_size=64, class_names=("cat", "dog"))
      >>> isinstance(detector, mkd_tf.Detector), sorted(detector.inference().output)
      (True, ['box_encodings', 'class_logits'])
    """

    # Class attributes: `Combined` does not run this constructor.
    is_quantized = False
    operating_point: OperatingPoint | None = None

    def __init__(
        self,
        core: keras.Model,
        anchors: Anchors,
        class_names: Sequence[str],
        config: dict[str, Any],
        *,
        scaling: tuple[float, float] = (1 / 127.5, -1.0),
        taps: Sequence[str] = TAPS,
    ):
        images = keras.Input(core.input_shape[1:], name="images")
        scaled = keras.layers.Rescaling(scaling[0], offset=scaling[1], name="rescaling")(images)
        outputs = core(scaled)
        check_outputs(core.name, outputs, len(anchors), len(class_names), taps)
        super().__init__(images, outputs, name=config.get("name"))
        self.core = core
        self.anchors = anchors
        self.class_names = tuple(class_names)
        self.image_size = anchors.image_size
        self.scaling = scaling
        self._config = config

    def get_config(self) -> dict[str, Any]:
        point = {} if self.operating_point is None else {"operating_point": dict(self.operating_point)}
        return self.arguments() | point

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Detector":
        check_file_form(cls.__name__, config)
        arguments = {name: value for name, value in config.items() if name != "operating_point"}
        detector = cls.from_arguments(arguments, custom_objects)
        detector.operating_point = config.get("operating_point")
        return detector

    def arguments(self) -> dict[str, Any]:
        """Returns the keyword arguments that `from_arguments` takes, as plain values."""
        return dict(self._config)

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any], custom_objects: Any) -> "Detector":
        """Returns a detector without its weights."""
        del custom_objects  # It is built from plain values alone.
        return cls(**arguments)

    def plain(self) -> "Detector":
        """Returns the detector without compression: here itself."""
        return self

    def shipped(self) -> "Detector":
        """Returns the detector that is measured and saved after training: here itself."""
        return self

    def deployable(self) -> "Detector":
        """Returns the form that is converted to integers: here itself."""
        return self

    def inference(self) -> keras.Model:
        """Returns the model with the same weights that outputs predictions only, no taps."""
        outputs = {k: self.output[k] for k in PREDICTIONS}
        return keras.Model(self.input, outputs, name=f"{self.name}_inference")

    def inference_core(self) -> keras.Model:
        """Returns `core` with predictions only, for compression and integer export."""
        outputs = {k: self.core.output[k] for k in PREDICTIONS}
        return keras.Model(self.core.input, outputs, name=f"{self.name}_core")


def tap_names(outputs: Mapping[str, Any]) -> list[str]:
    """Returns the names of the feature maps among a detector's outputs."""
    return [name for name, value in outputs.items() if len(value.shape) == 4 and name not in NO_TAPS]


def check_outputs(name: str, outputs: Any, count: int, num_classes: int, taps: Sequence[str] = TAPS) -> None:
    """Raises `MkdError` unless `outputs` keep the contract for N = `count` anchors."""
    wanted = (*PREDICTIONS, *taps)
    missing = [k for k in wanted if not isinstance(outputs, dict) or k not in outputs]
    if missing:
        expected, got = f"a dict of outputs with {', '.join(wanted)}", f"none called {', '.join(missing)}"
        do = "Return every tap and prediction under its name."
        fail(f"detector {name}", expected=expected, got=got, do=do)
    check_shape(f"{name}.class_logits", outputs["class_logits"].shape, (None, count, num_classes))
    check_shape(f"{name}.box_encodings", outputs["box_encodings"].shape, (None, count, 4))
    if "box_logits" in outputs:
        check_shape(f"{name}.box_logits", outputs["box_logits"].shape, (None, count, 4, None))
    for tap in taps:
        check_shape(f"{name}.{tap}", outputs[tap].shape, (None, None, None, None))
