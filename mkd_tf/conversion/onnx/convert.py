"""From a detector to an ONNX file.

    student = load_detector("runs/quickstart/student/best.keras")
    Path("student.onnx").write_bytes(to_onnx(student, opset=17))

| quantization | input `images` | core | calibration |
|---|---|---|---|
| `float32` | float32 in 0..255 | float32 | none |
| `float16` | float32 in 0..255 | float16 | none |
| `int8` | uint8 | int8 between QuantizeLinear and DequantizeLinear, weights per channel | training images |
| `int8`, symmetric | float32 in 0..255 | the same, zero points of 0 as for TensorRT | training images |

The input is `[1, S, S, 3]`, RGB; with `dynamic_batch` a float32 file takes any batch.

| postprocess | outputs, float32 |
|---|---|
| `decoded` | `scores` `[1, N, C]` in 0..1; `boxes` `[1, N, 4]` yxyx as fractions of the input |
| `raw` | `class_logits` `[1, N, C]`; `box_encodings` `[1, N, 4]` |
| `nms` | `detection_boxes` `[D, 4]`, `detection_scores` `[D]`, `detection_classes` `[D]`, best first |

`decoded` fits ONNX's own NonMaxSuppression, with scores transposed; `raw` is for compilers
of accelerators, which accept convolutions alone.

The int8 file is made from the TFLite file of raw heads, so that both compute the same
up to the rounding of each op.
"""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf
import tf2onnx
from keras import ops

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.conversion.base import CALIBRATION_IMAGES
from mkd_tf.conversion.calibration import Calibration, Source, choose_calibration
from mkd_tf.conversion.onnx import OPSET, model_edits
from mkd_tf.conversion.onnx.format import Onnx
from mkd_tf.conversion.onnx.runner import INPUT
from mkd_tf.conversion.onnx.suppression import append_suppression
from mkd_tf.conversion.onnx.symmetric import quantized
from mkd_tf.conversion.tflite.convert import check_labels, to_tflite
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.detection import boxes
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.options import FITS


def _from_function(function: tf.types.experimental.PolymorphicFunction, opset: int) -> onnx.ModelProto:
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=opset)
    model_edits.rename(model, {entry.name: entry.name for entry in (*model.graph.input, *model.graph.output)})
    return model


def _float_heads(detector: Detector, opset: int, batch: int | None) -> onnx.ModelProto:
    network: keras.Model = detector.inference()
    side = detector.image_size

    # Not from_keras: it names both outputs after the layer that holds the network.
    @tf.function(input_signature=[tf.TensorSpec([batch, side, side, 3], tf.float32, name=INPUT)])
    def heads(images: Any) -> dict[str, Any]:
        return {name: tf.identity(x, name=name) for name, x in network(images, training=False).items()}

    return _from_function(heads, opset)


def _int8_heads(content: bytes, opset: int) -> onnx.ModelProto:
    """Returns the QDQ form of a TFLite file of raw heads."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # tf2onnx uses TensorFlow's own interpreter, which warns of its removal.
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        path = Path(folder, "heads.tflite")
        path.write_bytes(content)
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=opset)
    tflite = unpack(content)
    (signature,) = tflite.signatureDefs
    tensors = tflite.subgraphs[0].tensors
    public = {tensors[o.tensorIndex].name.decode(): o.name.decode() for o in signature.outputs}
    model_edits.rename(model, public | {model.graph.input[0].name: INPUT})
    return model


def _symmetric(
    detector: Detector,
    calibration: Source | Calibration | None,
    opset: int,
    choice: dict[str, Any],
    on_progress: OnProgress,
) -> onnx.ModelProto:
    if calibration is None:
        do = "Pass calibration=dataset; its training images give the ranges."
        fail("to_onnx: quantization int8, symmetric", expected="calibration images", got="none", do=do)
    count = {"count": choice["calibration_images"], "seed": choice["seed"], "fit": choice["fit"]}
    images = choose_calibration(calibration, detector.image_size, **count).images
    model = quantized(_float_heads(detector, opset, 1), images, on_progress)
    model_edits.rename(model, {entry.name: entry.name for entry in (*model.graph.input, *model.graph.output)})
    return model


def _decoding(detector: Detector, opset: int, batch: int | None) -> onnx.ModelProto:
    anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
    count, classes = len(anchors), len(detector.class_names)
    logits = tf.TensorSpec([batch, count, classes], tf.float32, name="class_logits")
    encodings = tf.TensorSpec([batch, count, 4], tf.float32, name="box_encodings")

    @tf.function(input_signature=[logits, encodings])
    def decode(class_logits: Any, box_encodings: Any) -> dict[str, Any]:
        decoded = {"scores": ops.sigmoid(class_logits), "boxes": boxes.decode(box_encodings, anchors)}
        return {name: tf.identity(x, name=name) for name, x in decoded.items()}

    return _from_function(decode, opset)


def _checked(model: onnx.ModelProto) -> bytes:
    try:
        onnx.checker.check_model(model, full_check=True)
    # tf2onnx leaves an op without an ONNX form in the graph and only warns.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MkdError(f"to_onnx: the model has no valid ONNX form ({reason}). Try a higher opset.") from None
    return model.SerializeToString(deterministic=True)


def to_onnx(
    student: Detector,
    quantization: str = "float32",
    calibration: Source | Calibration | None = None,
    postprocess: str = "decoded",
    *,
    opset: int = OPSET,
    dynamic_batch: bool = False,
    symmetric: bool = False,
    labels: Sequence[str] | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    seed: int = 0,
    fit: str = "stretch",
    on_progress: OnProgress = ignore_progress,
) -> bytes:
    """Converts a detector into an ONNX file with class names, fit and, for raw heads, anchors inside.

    Args:
      student: the detector; it is not changed.
      quantization: see above.
      calibration: training images for `int8`, as in `choose_calibration`; none are read
        for a student that emulates int8.
      postprocess: `decoded`, `raw` or `nms`, see above.
      opset: version of ONNX's operators, 13 to 18.
      dynamic_batch: whether a float32 file shall take any number of images at once.
      symmetric: whether the zero points of an int8 file are all 0.
      labels: names to show instead of the detector's own, one per class.
      calibration_images: how many images at most.
      seed: of their choice.
      fit: how the model was trained to see images, `stretch` or `letterbox`.
      on_progress: called while images are calibrated on.

    Returns:
      The file's content.

    Raises:
      MkdError: for an unknown form, missing or empty calibration, a wrong number of
        labels, or a network that ONNX has no form for at this opset.
    """
    Onnx(quantization, postprocess, opset, dynamic_batch, symmetric)  # Checks them.
    check_one_of("fit", fit, FITS)
    names = check_labels(student.class_names if labels is None else labels, len(student.class_names))
    batch, is_raw = None if dynamic_batch else 1, postprocess == "raw"
    # tf2onnx logs every optimisation, op by op.
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    choice: Any = {"calibration_images": calibration_images, "seed": seed, "fit": fit}
    if symmetric:
        student = student.plain()
        model = _symmetric(student, calibration, opset, choice, on_progress)
    elif quantization == "int8":
        tflite = to_tflite(student, "int8", calibration, "raw", on_progress=on_progress, **choice)
        model = _int8_heads(tflite, opset)
    else:
        student = student.plain()  # It emulates the integers of int8 alone.
        model = _float_heads(student, opset, batch)
        model = model_edits.in_float16(model) if quantization == "float16" else model
    if not is_raw:
        model = model_edits.append(model, _decoding(student, opset, batch))
    if dynamic_batch:
        model_edits.free_batch(model)
    if postprocess == "nms":
        append_suppression(model, PostprocessConfig())
    model.graph.name = student.name
    model_edits.describe(model, names, fit, student.anchors, is_raw=is_raw)
    return _checked(model)
