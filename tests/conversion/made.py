"""What the tests of conversion share: a detector that sees something, its files, a data set it fits.

A file takes seconds to make: each is made once, in the process that asks for it.
"""

import functools

import keras
import numpy as np

from mkd_tf.checks import MkdError
from mkd_tf.conversion import to_tflite
from mkd_tf.data.base import Dataset, element
from mkd_tf.detectors import Detector
from mkd_tf.evaluation.runners import KerasRunner
from tests import harness

SIDE = 64
CLASSES = 3


@functools.cache
def detector() -> Detector:
    """An untrained detector whose scores reach from 0 to 1, so that suppression has work to do."""
    made = harness.shake(harness.build("tiny(size='student')", CLASSES))
    for layer in made.core.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name in ("head_class", "head_box"):
            layer.kernel.assign(layer.kernel * 12)
        if layer.name == "head_class":
            layer.bias.assign_add(np.full(CLASSES, 2.5, "float32"))
    return made


def images(count: int, seed: int = 0) -> np.ndarray:
    """Returns `[count, 64, 64, 3]` uint8."""
    return harness.random_images(count, SIDE, seed).astype("uint8")


@functools.cache
def file(quantization: str, postprocess: str = "detection") -> bytes:
    """The detector as a TFLite file."""
    return to_tflite(detector(), quantization, images(16), postprocess)


class OwnDetections(Dataset):
    """Images labelled with what the detector finds in them: its AP here is near 100.

    What it finds above 0.5, and above 0.6 in `validation`.
    """

    name = "own_detections"
    split_names = ("train", "validation", "test")

    def __init__(self, class_names: tuple[str, ...] | None = None):
        self.class_names = class_names or detector().class_names

    def _split(self, name):
        if name not in self.split_names:
            raise MkdError(name)
        fitted = images(6, seed=self.split_names.index(name) + 1)
        least = 0.6 if name == "validation" else 0.5
        found = [d.above(least) for d in KerasRunner(detector())(fitted)]
        return [
            element(image, f"{name}{i}", d.boxes, d.labels)
            for i, (image, d) in enumerate(zip(fitted, found, strict=True))
        ]
