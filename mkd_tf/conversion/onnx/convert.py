"""From a detector to an ONNX file.

    student = load_detector("runs/quickstart/student/best.keras")
    Path("student.onnx").write_bytes(to_onnx(student, opset=17))

| quantization | input `images` | core | calibration |
|---|---|---|---|
| `float32` | float32 in 0..255 | float32 | none |
| `int8` | uint8 | int8 between QuantizeLinear and DequantizeLinear, weights per channel | training images |

The input is `[1, S, S, 3]`, RGB; with `dynamic_batch` a float32 file takes any batch.

| postprocess | outputs, float32 |
|---|---|
| `decoded` | `scores` `[1, N, C]` in 0..1; `boxes` `[1, N, 4]` yxyx as fractions of the input |
| `raw` | `class_logits` `[1, N, C]`; `box_encodings` `[1, N, 4]` |

`decoded` is what ONNX's own NonMaxSuppression takes, scores transposed; `raw` is for
compilers of accelerators, which want nothing but convolutions.

The int8 file is made from the TFLite file of raw heads, so that both compute the same
up to the rounding of each op.
"""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx
from keras import ops

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.conversion.calibration import IMAGES, Calibration, Source, choose_calibration
from mkd_tf.conversion.onnx import model_edits
from mkd_tf.conversion.onnx.runner import INPUT
from mkd_tf.conversion.tflite.convert import Progress, check_labels, convert, needs_calibration
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.detection import boxes
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.evaluator import FITS

ONNX_QUANTIZATIONS = ("float32", "int8")
ONNX_POSTPROCESSES = ("decoded", "raw")
OPSETS = (13, 14, 15, 16, 17, 18)
OPSET = 17


def check_form(quantization: str, postprocess: str, opset: int, dynamic_batch: bool, fit: str) -> None:
    """Raises `MkdError` unless there is a file of this form."""
    check_one_of("quantization", quantization, ONNX_QUANTIZATIONS)
    check_one_of("postprocess", postprocess, ONNX_POSTPROCESSES)
    check_one_of("opset", opset, OPSETS)
    check_one_of("fit", fit, FITS)
    if dynamic_batch and quantization == "int8":
        fail(
            "dynamic_batch",
            expected="float32",
            got="int8, which is made from a TFLite file of batch 1",
            do="Leave dynamic_batch out, or choose quantization float32.",
        )


def _from_function(function: tf.types.experimental.PolymorphicFunction, opset: int) -> onnx.ModelProto:
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=opset)
    model_edits.rename(model, {entry.name: entry.name for entry in (*model.graph.input, *model.graph.output)})
    return model


def _float_heads(detector: Detector, opset: int, batch: int | None) -> onnx.ModelProto:
    network: keras.Model = detector.inference()
    side = detector.image_size

    # Not from_keras: it calls both outputs after the layer that holds the network.
    @tf.function(input_signature=[tf.TensorSpec([batch, side, side, 3], tf.float32, name=INPUT)])
    def heads(images):
        return {name: tf.identity(x, name=name) for name, x in network(images, training=False).items()}

    return _from_function(heads, opset)


def _int8_heads(content: bytes, opset: int) -> onnx.ModelProto:
    """Returns the QDQ form of a TFLite file of raw heads."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # tf2onnx asks TensorFlow's own interpreter, which announces its removal.
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


def _decoding(detector: Detector, opset: int, batch: int | None) -> onnx.ModelProto:
    anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
    count, classes = len(anchors), len(detector.class_names)
    logits = tf.TensorSpec([batch, count, classes], tf.float32, name="class_logits")
    encodings = tf.TensorSpec([batch, count, 4], tf.float32, name="box_encodings")

    @tf.function(input_signature=[logits, encodings])
    def decode(class_logits, box_encodings):
        decoded = {"scores": ops.sigmoid(class_logits), "boxes": boxes.decode(box_encodings, anchors)}
        return {name: tf.identity(x, name=name) for name, x in decoded.items()}

    return _from_function(decode, opset)


def _checked(model: onnx.ModelProto) -> bytes:
    try:
        onnx.checker.check_model(model, full_check=True)
    # An op without an ONNX form is left in the graph as it is: only a warning tells.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MkdError(f"to_onnx: the model has no valid ONNX form ({reason}). Try a higher opset.") from None
    return model.SerializeToString()


def convert_onnx(
    student: Detector,
    quantization: str,
    calibration: Calibration | None,
    postprocess: str = "decoded",
    *,
    opset: int = OPSET,
    dynamic_batch: bool = False,
    labels: Sequence[str] | None = None,
    fit: str = "stretch",
    on_progress: Progress | None = None,
) -> bytes:
    """`to_onnx` with the calibration images already chosen; None where none is needed."""
    check_form(quantization, postprocess, opset, dynamic_batch, fit)
    if quantization != "int8":
        student = student.plain()  # Its integers are those of int8 alone.
    names = check_labels(student.class_names if labels is None else labels, len(student.class_names))
    batch = None if dynamic_batch else 1
    # tf2onnx tells what it optimises, op by op.
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    if quantization == "int8":
        tflite = convert(student, "int8", calibration, "raw", on_progress=on_progress)
        model = _int8_heads(tflite, opset)
    else:
        model = _float_heads(student, opset, batch)
    if postprocess == "decoded":
        model = model_edits.append(model, _decoding(student, opset, batch))
    if dynamic_batch:
        model_edits.free_batch(model)
    model.graph.name = student.name
    model_edits.describe(model, names, fit, student.anchors, is_raw=postprocess == "raw")
    return _checked(model)


def to_onnx(
    student: Detector,
    quantization: str = "float32",
    calibration: Source | None = None,
    postprocess: str = "decoded",
    *,
    opset: int = OPSET,
    dynamic_batch: bool = False,
    labels: Sequence[str] | None = None,
    calibration_images: int = IMAGES,
    seed: int = 0,
    fit: str = "stretch",
    on_progress: Progress | None = None,
) -> bytes:
    """Converts a detector into an ONNX file that says by itself how to use it.

    Args:
      student: the detector; it is not changed.
      quantization: see above.
      calibration: training images for `int8`, as in `choose_calibration`; none are read
        for a student that emulates int8.
      postprocess: `decoded` or `raw`, see above.
      opset: version of ONNX's operators, 13 to 18.
      dynamic_batch: whether a float32 file shall take any number of images at once.
      labels: names to show instead of the detector's own, one per class.
      calibration_images: how many images at most.
      seed: of their choice.
      fit: how the model was trained to see images, `stretch` or `letterbox`.
      on_progress: called with how many images were calibrated on, and how many there are.

    Returns:
      The file's content.

    Raises:
      MkdError: for an unknown form, missing or empty calibration, a wrong number of
        labels, or a network that ONNX has no form for at this opset.
    """
    check_form(quantization, postprocess, opset, dynamic_batch, fit)
    chosen = None
    if needs_calibration(student, quantization) and calibration is not None:
        chosen = choose_calibration(
            calibration, student.image_size, count=calibration_images, seed=seed, fit=fit
        )
    return convert_onnx(
        student,
        quantization,
        chosen,
        postprocess,
        opset=opset,
        dynamic_batch=dynamic_batch,
        labels=labels,
        fit=fit,
        on_progress=on_progress,
    )
