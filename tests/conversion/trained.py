"""A detector that has learned something: rectangles whose colour is their class, in seconds of training.

Its scores and boxes are what those of a real one are: most cells are sure of nothing,
neighbours agree about an object, and suppression keeps the best of them.
"""

import functools

import keras
import numpy as np

import mkd_tf
from mkd_tf.data.base import Element, element
from mkd_tf.detection.boxes import pairwise_iou
from mkd_tf.detectors import Detector

SIDE = 64
CLASSES = ("red", "green", "blue")
STEPS = 200


def rectangles(count: int, seed: int) -> list[Element]:
    """Returns `count` images of one to four rectangles; what a later one hides is no object."""
    rng = np.random.default_rng(seed)
    return [_image(rng, f"{seed}-{number}") for number in range(count)]


def _image(rng: np.random.Generator, name: str) -> Element:
    image = rng.normal(110, 25, (SIDE, SIDE, 3))
    boxes, labels = np.zeros((0, 4), "float32"), np.zeros(0, "int64")
    for _ in range(rng.integers(1, 5)):
        size, label = rng.integers(SIDE // 6, SIDE // 2, 2), rng.integers(len(CLASSES))
        top, left = rng.integers(0, SIDE - size + 1)
        part = image[top : top + size[0], left : left + size[1]]
        part[:] = rng.normal(60, 20, part.shape)
        part[..., label] += 120
        box = np.float32([[top, left, top + size[0], left + size[1]]])
        seen = np.asarray(pairwise_iou(boxes, box))[:, 0] < 0.2
        boxes, labels = np.concatenate([boxes[seen], box]), np.append(labels[seen], label)
    return element(np.clip(image, 0, 255).astype("uint8"), name, boxes / SIDE, labels)


def images(elements: list[Element]) -> np.ndarray:
    """Returns `[K, 64, 64, 3]` uint8."""
    return np.stack([e["image"] for e in elements])


@functools.cache
def detector() -> Detector:
    """The student of the `tiny` family, trained on 128 of these images."""
    keras.utils.set_random_seed(0)
    student = mkd_tf.DETECTORS.build("tiny(size='student')", image_size=SIDE, class_names=CLASSES)
    batches = mkd_tf.batches_of(
        rectangles(128, seed=1), student.anchors, len(CLASSES), steps=STEPS, batch_size=8
    )
    rate = keras.optimizers.schedules.CosineDecay(8e-4, STEPS, warmup_target=8e-3, warmup_steps=20)
    distiller = mkd_tf.Distiller(student)
    distiller.compile(optimizer=keras.optimizers.AdamW(rate, global_clipnorm=10.0))
    distiller.fit(batches, epochs=1, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return student
