"""Static check of a TFLite file against what the Edge TPU compiler is known to map.

It stands in where the compiler itself is not at hand. One operator that the
compiler cannot parse rejects the whole file, so an unknown one is a problem too.

The operators are those of the compiler's documentation; the versions are the
highest that were seen in files it had compiled.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# Operator to its highest version; None where the runtime version below is the only limit.
OPERATORS: dict[str, int | None] = {
    "ADD": None,
    "AVERAGE_POOL_2D": None,
    "CONCATENATION": None,
    "CONV_2D": 5,  # 6 is a grouped convolution
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": None,
    "L2_NORMALIZATION": None,
    "LOGISTIC": None,
    "MAXIMUM": None,
    "MAX_POOL_2D": None,
    "MEAN": None,
    "MINIMUM": None,
    "MUL": None,
    "PAD": None,
    "PRELU": None,
    "QUANTIZE": None,
    "RELU": None,
    "RELU6": None,
    "RESHAPE": None,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": None,
    "SOFTMAX": None,
    "SPACE_TO_DEPTH": None,
    "SPLIT": None,
    "SQUEEZE": None,
    "STRIDED_SLICE": None,
    "SUB": None,
    "TANH": None,
    "TRANSPOSE_CONV": None,
}
RUNTIME_VERSION = (2, 5, 0)
MAX_RANK = 4


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATOR_NAMES = _names(schema.BuiltinOperator)
_TYPE_NAMES = _names(schema.TensorType)


def operators(content: bytes) -> dict[str, int]:
    """Returns every operator that the file's first graph uses by name, with its highest version.

    The file's own list of operators is no measure: a converter that made the
    outputs int8 leaves the DEQUANTIZE it removed in the list.
    """
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    found: dict[str, int] = {}
    for index in {graph.Operators(i).OpcodeIndex() for i in range(graph.OperatorsLength())}:
        code = model.OperatorCodes(index)
        # Old files keep the code in a byte, new ones in an int; the other is then 0.
        name = _OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        found[name] = max(code.Version(), found.get(name, 0))
    return found


def _runtime_version(model) -> tuple[int, ...]:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == b"min_runtime_version":
            text = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().rstrip(b"\0").decode()
            return tuple(int(part) for part in text.split("."))
    return ()


def _tensor_problems(model, graph) -> list[str]:
    problems = []
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        if model.Buffers(tensor.Buffer()).DataLength():
            continue  # A constant: weights, biases and the shape of a reshape.
        name, shape = tensor.Name().decode(), np.atleast_1d(tensor.ShapeAsNumpy())
        if tensor.Type() != schema.TensorType.INT8:
            problems.append(f"tensor {name} is {_TYPE_NAMES[tensor.Type()]}, not INT8")
        if tensor.ShapeSignatureLength() and (tensor.ShapeSignatureAsNumpy() < 0).any():
            problems.append(f"tensor {name} has a dynamic shape")
        if len(shape) > MAX_RANK:
            problems.append(f"tensor {name} has rank {len(shape)}, above {MAX_RANK}")
        if shape[0] != 1:
            problems.append(f"tensor {name} has batch {shape[0]}, not 1")
    return problems


def edge_problems(content: bytes) -> list[str]:
    """Returns why the Edge TPU compiler would refuse or split the file; empty when nothing is known."""
    model = schema.Model.GetRootAs(content, 0)
    problems = []
    for name, version in operators(content).items():
        limit = OPERATORS.get(name, 0)
        if limit == 0:
            problems.append(f"operator {name} v{version} is not supported")
        elif limit is not None and version > limit:
            problems.append(f"operator {name} v{version} is above v{limit}")
    runtime = _runtime_version(model)
    if not runtime or runtime > RUNTIME_VERSION:
        problems.append(f"min_runtime_version {runtime or 'unknown'} is above {RUNTIME_VERSION}")
    if model.SubgraphsLength() != 1:
        problems.append(f"{model.SubgraphsLength()} subgraphs, not 1")
    return problems + _tensor_problems(model, model.Subgraphs(0))
