"""Which layers hurt: the error of every layer between the float and the int8 file.

For a signal x and what became of it x', over all values on all images:

    relative error  = sqrt( sum (x' - x)^2 / sum x^2 )
    SQNR in dB      = 10 log10( sum x^2 / sum (x' - x)^2 ) = -20 log10(relative error)

Each layer is measured twice:

    accumulated     its activation in the int8 file as it runs: the errors of all layers
                    before it are in it
    isolated        its activation when this layer alone is quantised, as the int8 file
                    does it (weights, bias, grid of the output), on float inputs

and the isolated error is propagated, in float, to the outputs. Its size there is the cost
of the layer:

    hurt = sqrt( (relative error of scores)^2 / 2 + (relative error of box encodings)^2 / 2 )

Scores and box encodings are the inputs of the post-process; a logit of -12 that becomes
-11.9 changes nothing, so the error of logits is reported and not counted. Squares of
isolated errors add up as far as the errors are independent; `Diagnosis.predicted` is this
sum, `Diagnosis.total` the error of the int8 file.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mkd_tf.checks import check_positive, check_shape, fail
from mkd_tf.conversion.base import Heads
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.tflite.convert import float_core, to_tflite
from mkd_tf.conversion.tflite.heads import KEEP_TENSORS
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.conversion.tflite.runner import open_interpreter
from mkd_tf.detectors.base import Detector
from mkd_tf.diagnosis.layer_names import keras_names
from mkd_tf.diagnosis.layer_quantization import INPUT, Layer, Pair, head_tensors
from mkd_tf.evaluation.progress import OnProgress, ignore_progress

HEADS = ("class_logits", "scores", "box_encodings")


class Error:
    """Sums of squares of a signal and of its error."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, found: np.ndarray, exact: np.ndarray) -> None:
        """Adds values of one shape."""
        exact = exact.astype("float64")
        self.signal += float(np.sum(exact**2))
        self.noise += float(np.sum((found - exact) ** 2))

    def relative(self) -> float:
        """Returns the relative RMS error; infinite for an error where the signal is 0."""
        if not self.noise:
            return 0.0
        return math.sqrt(self.noise / self.signal) if self.signal else math.inf


def decibels(relative: float) -> float:
    """Returns the signal-to-quantisation-noise ratio in dB; infinite where there is no error."""
    return -20 * math.log10(relative) if relative else math.inf


@dataclasses.dataclass(frozen=True)
class LayerError:
    """The error of one layer, and its effect on the outputs; see above.

    Errors are relative RMS errors. `class_logits`, `scores` and `box_encodings` are those
    of the outputs when this layer alone is quantised.
    """

    layer: Layer
    accumulated: float
    isolated: float
    class_logits: float
    scores: float
    box_encodings: float

    @property
    def hurt(self) -> float:
        """The error of the post-process's inputs."""
        return math.sqrt((self.scores**2 + self.box_encodings**2) / 2)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The layers, the worst first, and the relative RMS error of each output of the int8 file."""

    layers: tuple[LayerError, ...]
    total: dict[str, float]
    images: int

    @property
    def predicted(self) -> dict[str, float]:
        """The error of each output if those of the layers were independent."""
        return {head: math.sqrt(sum(getattr(e, head) ** 2 for e in self.layers)) for head in HEADS}

    def worst(self, count: int) -> list[str]:
        """Returns the names of the layers that hurt the most; the input, always bytes, is none of them."""
        check_positive("count", count)
        return [e.layer.name for e in self.layers if e.layer.operator != INPUT][:count]


class _Run:
    """A file and every tensor it makes."""

    def __init__(self, content: bytes):
        # Python's binding maps the content and does not keep it alive by itself.
        self._content = content
        self._interpreter = open_interpreter("model", content, **KEEP_TENSORS)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._grids = {
            entry["index"]: entry["quantization"]
            for entry in self._interpreter.get_tensor_details()
            if entry["dtype"] in (np.int8, np.uint8, np.int16)
        }
        self._heads = head_tensors(unpack(content))

    def __call__(self, image: np.ndarray) -> None:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()

    def values(self, index: int) -> np.ndarray:
        """Returns a tensor, dequantised."""
        found = self._interpreter.get_tensor(index)
        if index not in self._grids:
            return found
        scale, zero = self._grids[index]
        return (found.astype("float32") - zero) * np.float32(scale)

    def heads(self) -> Heads:
        """Returns class logits, scores without the background, and box encodings."""
        found = {name: self.values(index) for name, index in self._heads.items()}
        return found | {"scores": found["scores"][..., 1:]}


def _compared(found: Iterator[Heads], exact: list[Heads]) -> dict[str, float]:
    errors = {name: Error() for name in HEADS}
    for ours, theirs in zip(found, exact, strict=True):
        for name, error in errors.items():
            error.add(ours[name], theirs[name])
    return {name: error.relative() for name, error in errors.items()}


def _accumulated(pair: Pair, images: np.ndarray, scaled: np.ndarray) -> tuple[list[float], list[Heads], Any]:
    """Returns each layer's error in the int8 file, the float file's outputs, and the int8 file's errors."""
    exact, rough = _Run(pair.float_file), _Run(pair.int8_file)
    places = [pair.indices(layer) for layer in pair.layers]
    errors, reference, found = [Error() for _ in places], [], []
    for image, floats in zip(images, scaled, strict=True):
        exact(floats)
        rough(image)
        for error, (ours, theirs) in zip(errors, places, strict=True):
            error.add(rough.values(theirs), exact.values(ours))
        reference.append(exact.heads())
        found.append(rough.heads())
    return [error.relative() for error in errors], reference, _compared(iter(found), reference)


def _measured(
    pair: Pair, layer: Layer, images: np.ndarray, scaled: np.ndarray, reference: list[Heads]
) -> dict[str, float]:
    is_input, own, inputs, content = layer.operator == INPUT, Error(), scaled, pair.float_file
    if is_input:
        # The int8 file takes a byte as the level 128 below it, which is not to round its pixel.
        inputs = (images.astype("float32") - 128 - layer.zero_point) * np.float32(layer.step)
    else:
        content, exact, found = pair.isolated(layer)
    run = _Run(content)

    def heads() -> Iterator[Heads]:
        for given, floats in zip(inputs, scaled, strict=True):
            run(given)
            own.add(*((given, floats) if is_input else (run.values(found), run.values(exact))))
            yield run.heads()

    errors = _compared(heads(), reference)
    return {"isolated": own.relative(), **errors}


def compare(
    student: Detector,
    float_file: bytes,
    int8_file: bytes,
    images: np.ndarray,
    on_progress: OnProgress = ignore_progress,
) -> Diagnosis:
    """`diagnose` with both files already made."""
    check_shape("images", images.shape, (None, student.image_size, student.image_size, 3))
    if images.dtype != np.uint8 or not len(images):
        got, do = f"{len(images)} in {images.dtype}", "Pass images in 0..255 at the model's size."
        fail("diagnosis", expected="at least one image in uint8", got=got, do=do)
    pair = Pair(float_file, int8_file, keras_names(student.inference_core()))
    factor, offset = np.asarray(student.scaling, "float32")
    scaled = images.astype("float32") * factor + offset
    accumulated, reference, total = _accumulated(pair, images, scaled)
    found = []
    for done, (layer, error) in enumerate(zip(pair.layers, accumulated, strict=True), start=1):
        found.append(LayerError(layer, error, **_measured(pair, layer, images, scaled, reference)))
        on_progress(done, len(pair.layers))
    found.sort(key=lambda error: error.hurt, reverse=True)
    return Diagnosis(tuple(found), total, len(images))


def diagnose(
    student: Detector,
    calibration: Calibration,
    images: np.ndarray,
    on_progress: OnProgress = ignore_progress,
) -> Diagnosis:
    """Measures what int8 does to each layer of a detector.

    Args:
      student: the detector; it is not changed.
      calibration: images that give the int8 file its ranges.
      images: `[K, S, S, 3]` uint8 on which errors are measured; others than those of
        calibration show ranges that are too narrow as well.
      on_progress: called with how many layers are done, and how many there are.

    Raises:
      MkdError: if there is no image, or it is of another size.
    """
    float_file = float_core(student)
    return compare(student, float_file, to_tflite(student, "int8", calibration), images, on_progress)
