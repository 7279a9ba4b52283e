"""The quantisation of each layer: its grid, its weights, and a float file with this layer alone in int8.

The float file and the int8 file of one detector come from one graph, and their tensors
have the same names. A layer here is an operator that rounds: its output lies on a grid
that none of its inputs had. Operators that only move values (RESHAPE on the same grid)
round nothing.

`Pair.isolated` puts one layer's quantisation into the float file:

    x -> op(float weights) -> y                   kept, to compare with
    x -> op(int8 weights)  -> QUANTIZE -> DEQUANTIZE -> y'     read by all that read y

with weights, bias and grid of the int8 file. It leaves out the rounding of the integer
kernel's own multiplier, at most one level.
"""

import copy
import dataclasses
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.checks import fail
from mkd_tf.conversion.tflite.model_file import (
    add_buffer,
    add_tensor,
    constant,
    made_operator,
    operator_name,
    producers,
    tensor_name,
    to_content,
    unpack,
)
from mkd_tf.diagnosis.layer_names import keras_layer, last_part, unique

INPUT = "INPUT"
_CODES = schema.BuiltinOperator
# fmt: off
_MOVES = {
    "RESHAPE", "CONCATENATION", "RESIZE_NEAREST_NEIGHBOR", "MAX_POOL_2D", "PAD", "SLICE", "STRIDED_SLICE",
    "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE",
}
# fmt: on


@dataclasses.dataclass(frozen=True)
class Layer:
    """An operator that rounds.

    Attributes:
      name: of the Keras layer, with `@HxW` where it is called on several maps; of the
        tensor where it comes from no Keras layer. Names are unique.
      operator: of the file, as in `CONV_2D`; `INPUT` for the image itself.
      tensor: name of its output in both files.
      step: the distance of two levels of the output's grid.
      zero_point: the level of the value 0.
    """

    name: str
    operator: str
    tensor: str
    step: float
    zero_point: int


def head_tensors(model: schema.ModelT) -> dict[str, int]:
    """Returns the tensors of class logits, scores with the background first, and box encodings.

    Boxes and scores are the inputs of the post-process, logits those of the sigmoid.
    """
    graph = model.subgraphs[0]
    made, last = producers(graph), graph.operators[-1]

    def source(index: int) -> schema.OperatorT:
        operator = made[int(index)]
        is_aside = operator_name(model, operator) in ("QUANTIZE", "DEQUANTIZE")
        return source(operator.inputs[0]) if is_aside else operator

    sigmoid = source(source(last.inputs[1]).inputs[1])
    found = {"class_logits": sigmoid.inputs[0], "scores": last.inputs[1], "box_encodings": last.inputs[0]}
    return {name: int(index) for name, index in found.items()}


def dequantised(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    """Returns an integer constant's values as float32, of the tensor's shape."""
    levels = constant(model, tensor).astype("float64")
    about = tensor.quantization
    scale, zero = (np.asarray(x, "float64") for x in (about.scale, about.zeroPoint))
    along = [1] * levels.ndim
    if len(scale) > 1:
        along[about.quantizedDimension] = -1
    return ((levels - zero.reshape(along)) * scale.reshape(along)).astype("float32")


class Pair:
    """The float and the int8 file of one detector, with the post-process as the last operator.

    Args:
      float_file: as `tflite.float_core` makes it.
      int8_file: as `tflite.convert` makes it.
      names: the detector's Keras layers, as in `keras_names`.
    """

    def __init__(self, float_file: bytes, int8_file: bytes, names: Iterable[str]):
        self.float_file, self.int8_file = float_file, int8_file
        self._float, self._int8 = unpack(float_file), unpack(int8_file)
        self._order = {name: place for place, name in enumerate(names)}
        graph = self._int8.subgraphs[0]
        self._made = producers(graph)
        self._by_name = {tensor_name(graph, index): index for index in self._made}
        found = self._layers()
        if not found:
            expected, got = "an int8 file with the tensors of the float file", "none of them under its name"
            do = "Compare files that were converted from one model."
            fail("diagnosis", expected=expected, got=got, do=do)
        self.layers = [self._input(), *found]

    def _grid(self, index: int) -> tuple[float, int] | None:
        """Returns step and zero point of an int8 tensor; through requantisation, those of its source."""
        operator = self._made.get(int(index))
        if operator is not None and operator_name(self._int8, operator) == "QUANTIZE":
            source = self._grid(operator.inputs[0])
            if source is not None:
                return source
        found = self._int8.subgraphs[0].tensors[index]
        if found.type != schema.TensorType.INT8 or found.quantization.scale is None:
            return None
        return float(found.quantization.scale[0]), int(found.quantization.zeroPoint[0])

    def _rounds(self, operator: schema.OperatorT) -> bool:
        if operator_name(self._int8, operator) not in _MOVES:
            return True
        grid = self._grid(operator.outputs[0])
        sources = [self._grid(index) for index in operator.inputs if int(index) in self._made]
        return any(source != grid for source in sources)

    def _layers(self) -> list[Layer]:
        graph = self._float.subgraphs[0]
        found, names, shapes = [], [], []
        for operator in graph.operators[:-1]:
            tensor = tensor_name(graph, operator.outputs[0])
            index = self._by_name.get(tensor)
            if len(operator.outputs) != 1 or index is None or not self._rounds(self._made[index]):
                continue
            grid = self._grid(index)
            if grid is None:
                continue
            found.append(Layer("", operator_name(self._float, operator), tensor, *grid))
            names.append(keras_layer(tensor, self._order) or last_part(tensor))
            shapes.append(tuple(graph.tensors[operator.outputs[0]].shape[1:-1]))
        named = zip(found, unique(names, shapes), strict=True)
        return [dataclasses.replace(layer, name=name) for layer, name in named]

    def _input(self) -> Layer:
        graph = self._int8.subgraphs[0]
        first = next(o for o in graph.operators if graph.inputs[0] in o.inputs)
        step, zero = self._grid(first.outputs[0]) or (1.0, 0)
        return Layer("input", INPUT, tensor_name(graph, first.outputs[0]), step, zero)

    def indices(self, layer: Layer) -> tuple[int, int]:
        """Returns where a layer's output is in the float and in the int8 file."""
        graph = self._float.subgraphs[0]
        if layer.operator == INPUT:
            return int(graph.inputs[0]), self._by_name[layer.tensor]
        index = next(i for i in producers(graph) if tensor_name(graph, i) == layer.tensor)
        return index, self._by_name[layer.tensor]

    def isolated(self, layer: Layer) -> tuple[bytes, int, int]:
        """Returns the float file with this layer alone quantised, and the tensors y and y' in it.

        It does not serve the layer of the input, whose bytes the caller rounds.
        """
        model = unpack(self.float_file)
        graph = model.subgraphs[0]
        exact, _ = self.indices(layer)
        place = next(i for i, o in enumerate(graph.operators) if exact in o.outputs)
        clone = copy.copy(graph.operators[place])
        clone.inputs = self._with_int8_constants(model, clone)

        def tensor(kind: int, quantized: bool) -> int:
            made = copy.copy(graph.tensors[exact])
            made.name, made.type, made.buffer = f"isolated/{len(graph.tensors)}".encode(), kind, 0
            made.quantization = schema.QuantizationParametersT()
            if quantized:
                made.quantization.scale = np.array([layer.step], "float32")
                made.quantization.zeroPoint = np.array([layer.zero_point], "int64")
            return add_tensor(graph, made)

        kinds = schema.TensorType
        raw, levels = tensor(kinds.FLOAT32, False), tensor(kinds.INT8, True)
        rounded = tensor(kinds.FLOAT32, False)
        for operator in graph.operators:
            operator.inputs = [rounded if index == exact else index for index in operator.inputs]
        clone.outputs = [raw]
        quantize = made_operator(model, _CODES.QUANTIZE, 1, raw, levels)
        dequantize = made_operator(model, _CODES.DEQUANTIZE, 2, levels, rounded)
        graph.operators[place + 1 : place + 1] = [clone, quantize, dequantize]
        return to_content(model, len(self.float_file)), exact, rounded

    def _with_int8_constants(self, model: schema.ModelT, operator: schema.OperatorT) -> list[int]:
        """Returns the inputs of a float operator with its weights replaced by those of the int8 file."""
        graph, there = model.subgraphs[0], self._int8.subgraphs[0]
        name = tensor_name(graph, operator.outputs[0])
        other = self._made[self._by_name[name]]
        inputs = [int(index) for index in operator.inputs]
        for position, index in enumerate(inputs):
            if index < 0 or graph.tensors[index].type != schema.TensorType.FLOAT32:
                continue
            source = there.tensors[other.inputs[position]]
            if int(other.inputs[position]) in self._made or source.quantization.scale is None:
                continue
            own = copy.copy(graph.tensors[index])
            own.name = f"isolated/constant{position}".encode()
            # A buffer of its own: the calls of a shared layer read the same one.
            own.buffer = add_buffer(model, dequantised(self._int8, source).tobytes())
            inputs[position] = add_tensor(graph, own)
        return inputs
