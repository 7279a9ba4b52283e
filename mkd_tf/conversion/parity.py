"""Parity: how far the heads of an exported file are from those of the float model."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

from mkd_tf.conversion.tflite.runner import TFLiteRunner, open_interpreter
from mkd_tf.detection.postprocess import probabilities
from mkd_tf.detectors.base import Detector

IMAGES = 16
Heads = dict[str, np.ndarray]


def keras_heads(detector: Detector, images: np.ndarray) -> Heads:
    """Returns `box_encodings` `[B, N, 4]` and `scores` `[B, N, C]`, after the sigmoid.

    Args:
      detector: the float model.
      images: `[B, S, S, 3]` uint8.
    """
    model = detector.inference()
    outputs = [model(image[None].astype("float32"), training=False) for image in images]
    encodings, logits = (
        np.concatenate([np.asarray(o[name]) for o in outputs]) for name in ("box_encodings", "class_logits")
    )
    return {"box_encodings": encodings, "scores": probabilities(logits)}


def _postprocess_inputs(content: bytes) -> list[int]:
    """Returns the tensors that the last op, the post-process, takes: encodings and scores."""
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    return [int(i) for i in graph.Operators(graph.OperatorsLength() - 1).InputsAsNumpy()[:2]]


def tflite_heads(content: bytes, images: np.ndarray) -> Heads:
    """`keras_heads` of a TFLite file; where the post-process is inside, what goes into it.

    Raises:
      MkdError: if the file is damaged or of another form.
    """
    runner = TFLiteRunner(content)
    if runner.is_raw:
        outputs = [runner.invoke(image) for image in images]
        logits = np.concatenate([o["class_logits"] for o in outputs])
        encodings = np.concatenate([o["box_encodings"] for o in outputs])
        return {"box_encodings": encodings, "scores": probabilities(logits)}
    # A delegate runs several ops as one and never makes the tensors between them.
    plain: dict[str, Any] = {
        "experimental_preserve_all_tensors": True,
        "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }
    interpreter = open_interpreter("model", content, **plain)
    wanted, rows = _postprocess_inputs(content), []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], runner.prepare(image))
        interpreter.invoke()
        rows.append([interpreter.get_tensor(index) for index in wanted])
    encodings, scores = (np.concatenate(column) for column in zip(*rows, strict=True))
    return {"box_encodings": encodings, "scores": scores[..., 1:]}


def differences(found: Heads, expected: Heads) -> dict[str, dict[str, float]]:
    """Returns the largest and the mean absolute difference of each head.

    Box encodings are in tenths of an anchor (centres) and fifths of a logarithm (sizes).
    """
    return {
        name: {
            "max": float(np.abs(found[name] - expected[name]).max()),
            "mean": float(np.abs(found[name] - expected[name]).mean()),
        }
        for name in expected
    }
