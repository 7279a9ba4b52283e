"""The fullest image of a data set makes no other batch dearer."""

import numpy as np
import tensorflow as tf

from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import grid_anchors

SIDE = 64


def batches(store, indices):
    anchors = {"student": grid_anchors(SIDE)}
    streams, still = [Stream(np.array(indices), 2)], AugmentationConfig(scale_min=1.0, scale_max=1.0)
    made = training_batches(
        store, store.truth, streams, anchors, 2, still, seed=0, image_size=SIDE, first_step=0, steps=2
    )
    return [batch["targets"]["student"] for batch in made.as_numpy_iterator()]


def test_padding_is_that_of_the_batch(monkeypatch):
    rng, image = np.random.default_rng(0), np.zeros((SIDE, SIDE, 3), "uint8")
    low = rng.uniform(0, 0.6, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (40, 2))], axis=1).astype("float32")

    def store(*rows):
        split = [element(image, f"{i}", b, np.zeros(len(b), "int64")) for i, b in enumerate(rows)]
        return ImageStore([split], SIDE, "stretch", 1.0)

    with_crowd, without = (store(boxes[:2], boxes[2:3], last) for last in (boxes, boxes[:1]))
    assert with_crowd.truth.boxes.shape[1] == 40
    for padded, bare in zip(batches(with_crowd, [0, 1]), batches(without, [0, 1]), strict=True):
        for name in bare:
            np.testing.assert_array_equal(padded[name], bare[name], err_msg=name)
    seen, assign = [], target_math.assign

    def noted(anchors, boxes, *rest):
        (count,) = tf.py_function(lambda x: (seen.append(len(x[0])), len(x))[1:], [boxes], [tf.int32])
        with tf.control_dependencies([count]):
            return assign(anchors, tf.identity(boxes), *rest)

    monkeypatch.setattr(target_math, "assign", noted)
    batches(with_crowd, [0, 1])
    assert set(seen) == {2}
