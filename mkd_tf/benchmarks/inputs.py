"""The input: batches of training from images in memory, and parts of it."""

import numpy as np
import tensorflow as tf

from mkd_tf.benchmarks.cases import Work
from mkd_tf.benchmarks.steps import BATCH, CLASS_NAMES, SIDE, some_boxes
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import batches_of
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.targets import assign

IMAGES = 64


def batches() -> Work:
    """Batches as `Distiller.fit` gets them: augmented, with targets; noise for images."""
    rng = np.random.default_rng(2)
    boxes, labels = some_boxes(IMAGES)
    split = [
        element(rng.integers(0, 256, (SIDE, SIDE, 3), "uint8"), str(i), boxes[i] / SIDE, labels[i])
        for i in range(IMAGES)
    ]
    found = iter(batches_of(split, grid_anchors(SIDE), len(CLASS_NAMES), steps=10**6, batch_size=BATCH))
    return Work(lambda: next(found), "image", BATCH)


def assignment() -> Work:
    """Targets of a batch."""
    anchors, (boxes, labels) = grid_anchors(SIDE), some_boxes(BATCH)
    run = tf.function(lambda b, x, w: assign(anchors, b, x, w, len(CLASS_NAMES)))
    given = [tf.constant(x) for x in (boxes, labels, np.ones(labels.shape, "float32"))]
    return Work(lambda: run(*given)["labels"].numpy(), "image", BATCH)
