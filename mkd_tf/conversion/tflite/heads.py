"""The heads of a TFLite file, to compare them with those of the float model."""

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import OpResolverType

from mkd_tf.conversion.base import Heads
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.conversion.tflite.runner import TFLiteRunner, open_interpreter
from mkd_tf.detection.postprocess import probabilities

KEEP_TENSORS: dict[str, Any] = {
    "experimental_preserve_all_tensors": True,
    # A delegate runs several operators as one and never makes the tensors between them.
    "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
"""Options of an interpreter whose tensors can all be read after a call."""


def tflite_heads(content: bytes, images: np.ndarray) -> Heads:
    """Returns `box_encodings` `[B, N, 4]` and `scores` `[B, N, C]`, after the sigmoid.

    They are the outputs of a file of raw heads, and else what the post-process inside takes.

    Args:
      content: the file's.
      images: `[B, S, S, 3]` uint8.

    Raises:
      MkdError: if the file is damaged or of another form.
    """
    runner = TFLiteRunner(content)
    if runner.is_raw:
        outputs = [runner.invoke(image) for image in images]
        logits, encodings = (
            np.concatenate([o[name] for o in outputs]) for name in ("class_logits", "box_encodings")
        )
        return {"box_encodings": encodings, "scores": probabilities(logits)}
    interpreter = open_interpreter("model", content, **KEEP_TENSORS)
    # Encodings and scores, which the last operator, the post-process, takes.
    wanted, rows = [int(i) for i in unpack(content).subgraphs[0].operators[-1].inputs[:2]], []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], runner.prepare(image))
        interpreter.invoke()
        rows.append([interpreter.get_tensor(index) for index in wanted])
    encodings, scores = (np.concatenate(column) for column in zip(*rows, strict=True))
    return {"box_encodings": encodings, "scores": scores[..., 1:]}
