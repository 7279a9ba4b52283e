"""Selective precision: int8 except in the worst layers, which get int16 activations or float.

Every tensor has the range that it has in the int8 file, so that only the chosen layers
differ from it; ai-edge-quantizer makes the file from the float one.

The readers of a chosen layer are made precise too: in int8 they would round its output at
their input. The outputs of the readers are rounded as before.

The file keeps the contract of the int8 file: uint8 input, detections in float32, labels
and metadata inside. An Edge TPU takes no int16 and no float, so these files are for CPUs
and accelerators with mixed precision; `edgetpu.placement.check` rejects them. Operators that
ai-edge-quantizer does not know (LEAKY_RELU, PRELU) stay float in them.
"""

import contextlib
import copy
import io
import logging
import re
import warnings
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.tflite.convert import check_input, check_labels, described, float_core, to_tflite
from mkd_tf.conversion.tflite.model_file import (
    add_tensor,
    made_operator,
    operator_name,
    producers,
    tensor_name,
    to_content,
    unpack,
)
from mkd_tf.conversion.tflite.rewrites.pooling import pools_as_convolutions
from mkd_tf.detectors.base import Detector
from mkd_tf.diagnosis.format import PACKAGE, PRECISIONS, import_quantizer
from mkd_tf.diagnosis.layer_names import keras_names
from mkd_tf.diagnosis.layer_quantization import INPUT, Layer, Pair

_TYPES = {"int16": schema.TensorType.INT16, "float": schema.TensorType.FLOAT32}
# Their output has the grid of their input: their readers read the layer.
_SAME_GRID = ("RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D", "CONCATENATION")


def chosen_layers(pair: Pair, names: Sequence[str]) -> list[Layer]:
    """Returns the layers of these names; `head_box` means all calls of it, `head_box@24x24` one.

    Raises:
      MkdError: for an unknown name, or for the input, which is always bytes.
    """
    found: dict[str, Layer] = {}
    known = [layer for layer in pair.layers if layer.operator != INPUT]
    for name in names:
        fitting = [layer for layer in known if name in (layer.name, re.split("[@#]", layer.name)[0])]
        if not fitting:
            expected = f"some of {', '.join(layer.name for layer in known)}"
            do = "Take names from the diagnosis; the input cannot be chosen."
            fail("layers", expected=expected, got=repr(name), do=do)
        found |= {layer.tensor: layer for layer in fitting}
    if not found:
        fail("layers", expected="at least one layer", got="none", do="Take names from the diagnosis.")
    return list(found.values())


def with_readers(model: schema.ModelT, tensors: Sequence[str]) -> list[str]:
    """Returns names of tensors and, in the order of execution, those made from them.

    Args:
      model: the float file.
      tensors: outputs of the chosen layers.
    """
    graph = model.subgraphs[0]
    # Tensors with the grid of a chosen layer, and all tensors of higher precision.
    carried, found = set(tensors), set(tensors)
    for operator in graph.operators[:-1]:
        made = {tensor_name(graph, index) for index in operator.outputs}
        if any(index >= 0 and tensor_name(graph, index) in carried for index in operator.inputs):
            found |= made
            carried |= made if operator_name(model, operator) in _SAME_GRID else set()
    return [n for o in graph.operators for n in (tensor_name(graph, i) for i in o.outputs) if n in found]


def _ranges(pair: Pair, precise: Sequence[str], precision: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns the range of every computed tensor of the float file: that of its grid in the int8 file."""
    int8, graph = unpack(pair.int8_file).subgraphs[0], unpack(pair.float_file).subgraphs[0]
    grids = {tensor_name(int8, i): int8.tensors[i] for i in producers(int8)}
    inputs = {tensor_name(graph, graph.inputs[0]): grids[pair.layers[0].tensor]}
    ranges = {}
    for name, tensor in (grids | inputs).items():
        if tensor.type != schema.TensorType.INT8:
            continue
        step, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
        least, most = (-128 - zero) * step, (127 - zero) * step
        if name in precise and precision == "int16" and step == 1 / 256 and zero == -128:
            # The sigmoid's 16-bit grid is fixed too: levels of 1/32768.
            most = 32767 / 32768
        shape = (1,) * len(tensor.shape)
        ranges[name] = {"min": np.full(shape, least), "max": np.full(shape, most)}
    return ranges


def _quantized(pair: Pair, precise: Sequence[str], precision: str) -> bytes:
    """Returns the file as ai-edge-quantizer makes it: int8 input, float32 outputs."""
    maker = import_quantizer()
    from ai_edge_quantizer.qtyping import TFLOperationName as Operation

    work = maker.Quantizer(bytearray(pair.float_file))
    none = maker.AlgorithmName.NO_QUANTIZE
    work.add_static_config(".*", Operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    work.update_quantization_recipe(".*", Operation.OUTPUT, algorithm_key=none)
    for name in precise:
        # A scope is the names of an operator's outputs, each with a semicolon behind it.
        scope = f"^{re.escape(name)};$"
        if precision == "float":
            work.update_quantization_recipe(scope, Operation.ALL_SUPPORTED, algorithm_key=none)
        else:
            work.add_static_config(scope, Operation.ALL_SUPPORTED, activation_num_bits=16, weight_num_bits=8)
    ranges = _ranges(pair, precise, precision)
    # One of its progress bars cannot be turned off.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        # It opens an interpreter that keeps all tensors, which warns that this is for debugging.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        made = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


def _with_bytes(content: bytes) -> bytes:
    """Returns a file with int8 input with a QUANTIZE from uint8 before it."""
    model = unpack(content)
    graph = model.subgraphs[0]
    levels = int(graph.inputs[0])
    tensor = copy.copy(graph.tensors[levels])
    tensor.type, tensor.quantization = schema.TensorType.UINT8, copy.copy(tensor.quantization)
    tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint, "int64") + 128
    graph.tensors[levels].name = b"quantized_images"
    image = add_tensor(graph, tensor)
    graph.operators.insert(0, made_operator(model, schema.BuiltinOperator.QUANTIZE, 2, image, levels))
    graph.inputs = [image]
    model.signatureDefs[0].inputs[0].tensorIndex = image
    return to_content(model, len(content))


def _check_types(content: bytes, layers: Sequence[Layer], precision: str) -> None:
    graph = unpack(content).subgraphs[0]
    types = {tensor_name(graph, index): graph.tensors[index].type for index in producers(graph)}
    stayed = [x for x in layers if types.get(x.tensor) != _TYPES[precision]]
    if stayed:
        where, expected = f"selective precision {precision}", f"layers that {PACKAGE} makes in it"
        got = ", ".join(f"{layer.name} ({layer.operator})" for layer in stayed)
        do = "Leave them out, or choose float." if precision == "int16" else "Leave them out."
        fail(where, expected=expected, got=got, do=do)


def to_selective(
    student: Detector,
    calibration: Calibration | None,
    layers: Sequence[str],
    precision: str = "int16",
    *,
    labels: Sequence[str] | None = None,
) -> bytes:
    """Converts a detector into an int8 TFLite file in which some layers have a higher precision.

    Args:
      student: the detector; it is not changed.
      calibration: images that give the tensors their ranges.
      layers: names as in `diagnosis.Diagnosis.worst`.
      precision: `int16`, of activations beside int8 weights, or `float`.
      labels: names to show instead of the detector's own, one per class.

    Returns:
      The file's content, with post-process and metadata.

    Raises:
      MkdError: if ai-edge-quantizer is missing or cannot do it, or for an unknown layer.
    """
    check_one_of("precision", precision, PRECISIONS)
    names = check_labels(student.class_names if labels is None else labels, len(student.class_names))
    import_quantizer()
    float_file, int8_file = float_core(student), to_tflite(student, "int8", calibration)
    pair = Pair(float_file, int8_file, keras_names(student.inference_core()))
    chosen = chosen_layers(pair, layers)
    precise = with_readers(unpack(float_file), [layer.tensor for layer in chosen])
    root = logging.getLogger()
    level = root.level
    try:
        # It warns of every operator that a recipe for all operators does not fit.
        root.setLevel(logging.ERROR)
        content = _quantized(pair, precise, precision)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MkdError(
            f"selective precision: {PACKAGE} made no file ({reason}). Choose other layers."
        ) from None
    finally:
        root.setLevel(level)
    # As in the int8 file; pools of higher precision stay.
    content = pools_as_convolutions(_with_bytes(content))
    _check_types(content, chosen, precision)
    check_input(content, student.scaling)
    return described(content, student, names, student.scaling, "detection")
