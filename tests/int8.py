"""Integer TFLite files for the tests: made from a model of either Keras, and run.

A converter that is given a graph instead of a SavedModel takes a quarter of the time, and
writes no signature: the names of the inputs and outputs are added here.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from mkd_tf.conversion.tflite.model_file import to_content, unpack


def int8_file(
    model: Callable[..., dict[str, Any]], shape: tuple[int, ...], images: np.ndarray | None = None
) -> bytes:
    """Returns `model` as a TFLite file with int8 input, outputs and core.

    Args:
      model: a Keras 3 or tf_keras model from one tensor to a dict.
      shape: of the input, batch included, all static.
      images: `[K, ...]` float32, what the ranges are calibrated on; None for a
        quantisation-aware model, which brings its ranges.
    """
    module = tf.Module()
    # Keras 3 hides its tf.Variables in wrappers that a tf.Module does not track.
    module.tracked = [v if isinstance(v, tf.Variable) else v.value for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="images")], autograph=False)
    def serve(images):
        return {name: tf.identity(x, name=name) for name, x in model(images, training=False).items()}

    concrete = serve.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_lower_to_saved_model = False
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    if images is not None:
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        # Of the input, whose range a quantisation-aware model brings and calibration finds.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        content = converter.convert()
    return _with_signature(content, ["images"], sorted(concrete.structured_outputs))


def _with_signature(content: bytes, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
    """Returns a file whose inputs and outputs, in their order, have these names."""
    model = unpack(content)
    graph, signature = model.subgraphs[0], schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    for kind, names, tensors in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        named = []
        for name, index in zip(names, tensors, strict=True):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, int(index)
            named.append(entry)
        setattr(signature, kind, named)
    model.signatureDefs = [signature]
    return to_content(model, len(content))


def scales(content: bytes) -> dict[str, float]:
    """Returns the size of one integer step of the input and of each output, by name."""
    runner = Interpreter(model_content=content).get_signature_runner()
    details = runner.get_input_details() | runner.get_output_details()
    return {name: float(detail["quantization"][0]) for name, detail in details.items()}


def run(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs an int8 file on float images, one by one, and returns float outputs by name."""
    runner = Interpreter(model_content=content).get_signature_runner()
    scale, zero = runner.get_input_details()["images"]["quantization"]
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in runner.get_output_details()}
    for image in images:
        levels = np.clip(np.round(image / scale) + zero, -128, 127).astype("int8")
        for name, x in runner(images=levels[None]).items():
            scale_out, zero_out = runner.get_output_details()[name]["quantization"]
            outputs[name].append((x.astype("float32") - zero_out) * scale_out)
    return {name: np.concatenate(x) for name, x in outputs.items()}
