"""Networks that are nothing but outputs: what a strategy meets, without a convolution.

Random maps and predictions of the shapes of a detector, as ports, outputs by role
and targets. Roles differ in width, as real ones do.
"""

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np

from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.strategies import Port

TAPS = {"C3": 8, "C4": 16, "C5": 32, "P3": 8, "P4": 16, "P5": 32}  # their strides
WIDTHS = {
    "teacher": {"C3": 7, "C4": 9, "C5": 11, "P3": 6, "P4": 6, "P5": 6},
    "guide": {"C3": 6, "C4": 7, "C5": 8, "P3": 5, "P4": 5, "P5": 5},
    "student": {"C3": 4, "C4": 5, "C5": 6, "P3": 3, "P4": 3, "P5": 3},
}

BINS = 5

Outputs = dict[str, np.ndarray]


@functools.cache
def port(role: str = "student", image_size: int = 64, num_classes: int = 3) -> Port:
    """Returns the port of a role, whose widths it takes from `WIDTHS`."""
    anchors = grid_anchors(image_size)
    shapes: dict[str, tuple[int, ...]] = {
        tap: (image_size // stride, image_size // stride, WIDTHS[role][tap]) for tap, stride in TAPS.items()
    }
    shapes |= {"class_logits": (len(anchors), num_classes), "box_encodings": (len(anchors), 4)}
    shapes |= {"box_logits": (len(anchors), 4, BINS)}
    return Port(shapes, anchors, lambda taps: head(tuple(taps), role, num_classes))


def head(taps: tuple[str, ...], role: str, num_classes: int) -> Callable:
    """Returns a head that is linear in each cell, the same for all levels."""
    rng = np.random.default_rng(7)
    kernels = [rng.normal(0, 0.7, (WIDTHS[role][taps[0]], n)).astype("float32") for n in (num_classes, 4)]

    def predict(maps: Sequence) -> dict:
        classes, boxes = (
            keras.ops.concatenate(
                [
                    keras.ops.reshape(keras.ops.matmul(x, k), (-1, x.shape[1] * x.shape[2], k.shape[1]))
                    for x in maps
                ],
                axis=1,
            )
            for k in kernels
        )
        return {"class_logits": classes - 1, "box_encodings": boxes}

    return predict


def outputs(of: Port, batch: int = 2, seed: int = 0) -> Outputs:
    """Returns random outputs: maps of a few blobs, as after a ReLU; logits and encodings."""
    rng = np.random.default_rng(seed)
    made = {name: rng.normal(0, 1, (batch, *shape)).astype("float32") for name, shape in of.shapes.items()}
    made = {name: np.maximum(x + 0.5, 0) if name in TAPS else x for name, x in made.items()}
    return made | {"class_logits": made["class_logits"] * 2 - 1}


@functools.cache
def targets(of: Port, batch: int = 2, seed: int = 0) -> dict:
    """Returns the targets of random boxes, some of them of half weight."""
    rng = np.random.default_rng(seed)
    side = of.anchors.image_size
    low = rng.uniform(0, 0.6 * side, (batch, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (batch, 3, 2)) * side], axis=-1)
    labels = rng.integers(0, of.num_classes, (batch, 3)).astype("int32")
    weights = rng.choice([0.5, 1.0], (batch, 3)).astype("float32")
    assigned = target_math.assign(of.anchors, boxes.astype("float32"), labels, weights, of.num_classes)
    return {k: np.asarray(v) for k, v in assigned.items()} | {"known": np.ones(batch, "float32")}


def tiled(found: Outputs, of: Port) -> Outputs:
    """The same image four times, side by side, at twice the size."""

    def four(x):
        return np.tile(x, (1, 2, 2, 1))

    result = {}
    for name, x in found.items():
        if name in TAPS:
            result[name] = four(x)
            continue
        levels = np.split(x, np.cumsum(of.anchors.level_counts)[:-1], axis=1)
        sides = [int(round(level.shape[1] ** 0.5)) for level in levels]
        maps = [v.reshape(len(x), s, s, -1) for v, s in zip(levels, sides, strict=True)]
        result[name] = np.concatenate([four(m).reshape(len(x), -1, *x.shape[2:]) for m in maps], axis=1)
    return result
