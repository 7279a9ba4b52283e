"""Parity: how far the heads of an exported file are from those of the float model."""

import numpy as np

from mkd_tf.conversion.base import Heads
from mkd_tf.detection.postprocess import probabilities
from mkd_tf.detectors.base import Detector

IMAGES = 16


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


def differences(found: Heads, expected: Heads) -> dict[str, dict[str, float]]:
    """Returns the largest and the mean absolute difference of each head.

    Box encodings are in tenths of an anchor (centres) and fifths of a logarithm (sizes).
    """
    apart = {name: np.abs(found[name] - expected[name]) for name in expected}
    return {name: {"max": float(x.max()), "mean": float(x.mean())} for name, x in apart.items()}
