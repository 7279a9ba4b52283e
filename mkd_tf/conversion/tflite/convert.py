"""From a detector to a TFLite file that Coral, MediaPipe and Android's Task Library accept.

    student = load_detector("runs/quickstart/student/best.keras")
    content = to_tflite(student, quantization="int8", calibration=dataset)
    Path("student_int8.tflite").write_bytes(content)

| quantization | input | core | calibration |
|---|---|---|---|
| `float32` | float32 in 0..255 | float32 | none |
| `float16` | float32 in 0..255 | float32, weights kept in float16 | none |
| `dynamic` | float32 in 0..255 | int8 weights per channel, float32 activations | none |
| `int8` | uint8 | int8, weights per channel | training images |
| `int16x8` | float32 in 0..255 | int16 activations, int8 weights per channel | training images |

Outputs are float32 in all of them; in `int8` each is dequantised on its own, since one
scale for boxes and scores would ruin one of the two.
"""

import contextlib
import functools
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from mkd_tf.checks import check_one_of, fail
from mkd_tf.conversion.base import CALIBRATION_IMAGES, needs_calibration
from mkd_tf.conversion.calibration import Calibration, Source, choose_calibration, with_full_range
from mkd_tf.conversion.tflite import POSTPROCESSES, QUANTIZATIONS
from mkd_tf.conversion.tflite.metadata_writer import Description, pack
from mkd_tf.conversion.tflite.rewrites.biases import repair_biases
from mkd_tf.conversion.tflite.rewrites.pooling import pools_as_convolutions
from mkd_tf.conversion.tflite.rewrites.score_scale import keep_score_scale
from mkd_tf.conversion.tflite.serving import serving_module
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.progress import OnProgress, ignore_progress

CALIBRATED = ("int8", "int16x8")


def check_labels(labels: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Returns `labels` as a tuple.

    Raises:
      MkdError: unless there is one of one line for each of the classes.
    """
    if isinstance(labels, str) or len(labels) != num_classes:
        got = "one string" if isinstance(labels, str) else str(len(labels))
        expected = f"a list of {num_classes} labels, one per class of the detector"
        do = "Give one label per class, in the order of the classes and without a background class."
        fail("labels", expected=expected, got=got, do=do)
    for label in labels:
        # Readers split label files at any kind of line end; half of a surrogate pair is no text.
        has_half = any("\ud800" <= character <= "\udfff" for character in label)
        if not label.strip() or label.splitlines() != [label] or has_half:
            fail("labels", expected="labels of one line", got=f"{label!a:.60}", do="Correct this label.")
    return tuple(labels)


def _images(
    images: np.ndarray, scaling: tuple[float, float], on_progress: OnProgress
) -> Iterator[list[np.ndarray]]:
    factor, offset = np.asarray(scaling, "float32")
    for done, image in enumerate(images, start=1):
        yield [image[None].astype("float32") * factor + offset]
        on_progress(done, len(images))


def _is_warning(entry: logging.LogRecord) -> bool:
    return entry.levelno >= logging.WARNING


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TensorFlow's messages about saved models."""
    # A filter, since saving a model resets the level of absl's logger.
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    for logger in loggers:
        logger.addFilter(_is_warning)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_warning)


def _convert(
    module: tf.Module, quantization: str, images: Callable[[], Iterator], emulated: bool = False
) -> bytes:
    # By way of a SavedModel, which keeps the names of the outputs in a signature.
    with tempfile.TemporaryDirectory() as folder, _quiet():
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.allow_custom_ops = True
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization in CALIBRATED and not emulated:
            converter.representative_dataset = images
        if quantization == "int8":
            if not emulated:
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.float32
        if quantization == "int16x8":
            sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            # The second is for the post-process, which has no 16-bit form: without it this is an error.
            converter.target_spec.supported_ops = [sixteen, tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def check_input(content: bytes, scaling: tuple[float, float]) -> None:
    """Raises `MkdError` unless the input's quantisation equals the scaling from bytes to the core's input."""
    (entry,) = Interpreter(model_content=content).get_input_details()
    step, zero = entry["quantization"]
    factor, offset = scaling
    # The zero point is an integer, so it may be off by half a level.
    exact = abs(step - factor) < 1e-3 * factor and abs(zero * factor + offset) < 0.51 * factor
    if entry["dtype"] != np.uint8 or not exact:
        expected = f"uint8 with step {factor:.5g} and zero point {-offset / factor:.5g}"
        got = f"{np.dtype(entry['dtype']).name} with step {step:.5g} and zero point {zero}"
        do = "Use the versions in constraints.txt, and a model whose scaled pixels begin at 0 or below."
        fail("to_tflite: input of the int8 file", expected=expected, got=got, do=do)


def float_core(student: Detector) -> bytes:
    """Returns a float32 file without metadata whose tensors have the same names as those of `int8`.

    Its input is the core's, `[1, S, S, 3]` scaled as `student.scaling` says; the
    post-process is its last operator.

    Raises:
      MkdError: for a student that emulates int8, whose tensors have other names.
    """
    if student.is_quantized:
        where, do = f"float file of {student.name}", "Take the student that it was made from."
        fail(where, expected="a float detector", got="one that emulates int8", do=do)
    module = serving_module(student, scaled_input=True, postprocess="detection", config=PostprocessConfig())
    return _convert(module, "float32", lambda: iter(()))


def described(
    content: bytes, student: Detector, names: tuple[str, ...], scaling: tuple[float, float], postprocess: str
) -> bytes:
    """Returns a file with its metadata; `scaling` is the factor and offset from bytes to its input."""
    # A client that feeds floats computes (pixel - mean) / std.
    mean, std = -scaling[1] / scaling[0], 1 / scaling[0]
    return pack(content, Description(student.name, names, postprocess, mean, std, student.anchors))


def to_tflite(
    student: Detector,
    quantization: str = "int8",
    calibration: Source | Calibration | None = None,
    postprocess: str = "detection",
    *,
    labels: Sequence[str] | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    seed: int = 0,
    fit: str = "stretch",
    config: PostprocessConfig | None = None,
    on_progress: OnProgress = ignore_progress,
) -> bytes:
    """Converts a detector into a TFLite file with metadata, labels and anchors inside.

    Args:
      student: the detector; it is not changed.
      quantization: see above.
      calibration: training images for `int8` and `int16x8`, as in `choose_calibration`; none are
        read for a student that emulates int8.
      postprocess: `detection` appends `TFLite_Detection_PostProcess` as the last op;
        `raw` gives `class_logits` and `box_encodings`.
      labels: names to show instead of the detector's own, one per class.
      calibration_images: how many images at most.
      seed: of their choice.
      fit: how they are brought to the input, `stretch` or `letterbox`, as in training.
      config: thresholds of the non-maximum suppression; those of the Keras path when None.
      on_progress: called while images are calibrated on.

    Returns:
      The file's content.

    Raises:
      MkdError: for an unknown form, missing or empty calibration, or a wrong number of labels.
    """
    check_one_of("quantization", quantization, QUANTIZATIONS)
    check_one_of("postprocess", postprocess, POSTPROCESSES)
    if student.is_quantized and quantization != "int8":
        student = student.plain()  # It emulates the integers of int8 alone.
    student = student.deployable()
    names = check_labels(student.class_names if labels is None else labels, len(student.class_names))
    images = np.zeros(0)
    if needs_calibration(student, quantization):
        if calibration is None:
            do = "Pass calibration=dataset; its training images give the ranges."
            where = f"to_tflite: quantization {quantization}"
            fail(where, expected="calibration images", got="none", do=do)
        choice: Any = {"count": calibration_images, "seed": seed, "fit": fit}
        images = with_full_range(choose_calibration(calibration, student.image_size, **choice).images)
    config, is_bytes = config or PostprocessConfig(), quantization == "int8"
    scaling = student.scaling if is_bytes else (1.0, 0.0)
    module = serving_module(student, scaled_input=is_bytes, postprocess=postprocess, config=config)
    inputs = functools.partial(_images, images, scaling, on_progress)
    content = _convert(module, quantization, inputs, student.is_quantized)
    if is_bytes:
        check_input(content, scaling)
        content = pools_as_convolutions(content)
    if quantization in CALIBRATED:
        content = repair_biases(content)
        content = keep_score_scale(content) if postprocess == "detection" else content
    return described(content, student, names, scaling, postprocess)
