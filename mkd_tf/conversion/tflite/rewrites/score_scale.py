"""Scores of integer files keep the whole range 0..1.

The sigmoid's integer output has a fixed scale, 1/256 or 1/32768. The converter gives
the concatenation with the background the range that calibration saw instead, and puts
a QUANTIZE between them: scores above the best one of the calibration images would be
clipped to it, and one more operator would run. Both are removed here.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.checks import MkdError
from mkd_tf.conversion.tflite.model_file import (
    DTYPES,
    add_buffer,
    operator_name,
    producers,
    to_content,
    unpack,
)


def _path(model: schema.ModelT) -> list[schema.OperatorT]:
    """Returns the operators from the sigmoid to the post-process, the last ones first."""
    made, last = producers(model.subgraphs[0]), model.subgraphs[0].operators[-1]
    dequantize = made[last.inputs[1]]
    concatenation = made[dequantize.inputs[0]]
    path = [last, dequantize, concatenation, made[concatenation.inputs[1]]]
    if operator_name(model, path[-1]) == "QUANTIZE":
        path.append(made[path[-1].inputs[0]])
    return path


def keep_score_scale(content: bytes) -> bytes:
    """Returns an integer file with post-process whose scores have the sigmoid's scale.

    Raises:
      MkdError: if the graph is not the one that this correction was written for.
    """
    model = unpack(content)
    try:
        path = _path(model)
        names = [operator_name(model, operator) for operator in path]
    except KeyError:
        names = []
    if names[:3] != ["CUSTOM", "DEQUANTIZE", "CONCATENATION"] or names[-1] != "LOGISTIC":
        raise MkdError(
            "to_tflite: the converter made a graph in which the scores are not found. "
            "Use the versions in constraints.txt."
        )
    if len(path) == 4:
        return content
    graph, concatenation, requantize = model.subgraphs[0], path[2], path[3]
    background, scores = concatenation.inputs[0], requantize.inputs[0]
    concatenation.inputs = [background, scores]
    graph.operators = [operator for operator in graph.operators if operator is not requantize]
    of_sigmoid = graph.tensors[scores].quantization
    for index in (background, concatenation.outputs[0]):
        graph.tensors[index].quantization = of_sigmoid
    dtype = DTYPES[graph.tensors[scores].type]
    zeros = np.full(graph.tensors[background].shape, of_sigmoid.zeroPoint[0], dtype)
    # A buffer of its own: equal constants may share one.
    graph.tensors[background].buffer = add_buffer(model, zeros.tobytes())
    return to_content(model, len(content))
