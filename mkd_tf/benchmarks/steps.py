"""Training steps of the pair of `configs/bccd.cfg`: tiny networks at 192 px, 16 images of noise."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.benchmarks.cases import Work
from mkd_tf.detection import targets as target_math
from mkd_tf.detectors import Detector, build_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.optimizers import FusedAdamW
from mkd_tf.training.networks import strategies_of
from mkd_tf.training.plan import MKD, balance_of, expanded

BATCH, SIDE, OBJECTS = 16, 192, 12
CLASS_NAMES = ("platelets", "red", "white")
DEFAULT = "soft_classes, soft_boxes(weight=2.0)"
_LENGTH = 100_000
"""Steps of the run that is said to be timed: all terms act in its beginning."""


def network(size: str) -> Detector:
    """Returns an untrained network of the pair; `fast` is the student."""
    keras.utils.set_random_seed(0)
    return build_detector(f"tiny(size='{size}')", "", image_size=SIDE, class_names=CLASS_NAMES)


def some_boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random boxes `[count, OBJECTS, 4]` yxyx in pixels, and labels."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.7 * SIDE, (count, OBJECTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, low.shape) * SIDE], axis=-1)
    return boxes.astype("float32"), rng.integers(0, len(CLASS_NAMES), (count, OBJECTS)).astype("int32")


def batch(student: Detector) -> dict[str, Any]:
    """Returns a batch of the distiller."""
    boxes, labels = some_boxes(BATCH)
    weights = np.ones(labels.shape, "float32")
    found = target_math.assign(student.anchors, boxes, labels, weights, len(CLASS_NAMES))
    images = np.random.default_rng(1).uniform(0, 255, (BATCH, SIDE, SIDE, 3)).astype("float32")
    ones = tf.ones(BATCH)
    targets = {"student": found | {"known": ones, "labelled": ones}}
    return tf.nest.map_structure(tf.convert_to_tensor, {"images": images, "targets": targets})


def _steps(model: keras.Model, data: Any) -> Work:
    """Returns single steps of a compiled model, as `fit` runs them."""
    model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors(data).repeat())

    def call() -> None:
        np.asarray(model.train_function(iterator)["loss"])

    return Work(call, "step")


def _distilling(
    strategies: str, with_guide: bool = False, balance: str = "fixed", progress: float = 0.0
) -> Work:
    student = network("fast")
    sources: dict[str, Any] = {"teacher": network("teacher")} if strategies else {}
    if with_guide:
        sources["guide"] = network("guide")
    given = strategies_of(strategies)
    distiller = Distiller(student, **sources, strategies=given, beta=2.0, balance=balance, steps=_LENGTH)
    distiller.compile(optimizer=FusedAdamW(1e-3), jit_compile=False)
    distiller.optimizer.iterations.assign(int(progress * _LENGTH))
    return _steps(distiller, batch(student))


def _forward(size: str) -> Work:
    model = network(size)
    images = batch(model)["images"]
    run = tf.function(lambda x: model(x, training=False)["class_logits"])
    return Work(lambda: run(images).numpy(), "step")


def student_alone() -> Work:
    """The student on labels: forward, backward, optimiser."""
    return _distilling("")


def teacher_forward() -> Work:
    """The teacher in inference mode."""
    return _forward("teacher")


def guide_forward() -> Work:
    """The guide in inference mode."""
    return _forward("guide")


def default() -> Work:
    """The default strategies."""
    return _distilling(DEFAULT)


def mkd(progress: float = 0.0) -> Work:
    """The whole method, with a guide, while all of its terms act."""
    strategies = expanded(MKD, has_guide=True)
    return _distilling(strategies, with_guide=True, balance=balance_of(MKD, "auto"), progress=progress)


def late_mkd() -> Work:
    """The whole method in the last 40 % of a run, when the terms of hidden layers have ended."""
    return mkd(progress=0.7)


def student_images() -> Work:
    """A step of the student alone, of one image: how fast batches are consumed."""
    return dataclasses.replace(student_alone(), unit="image", units=BATCH)


@keras.saving.register_keras_serializable("mkd_tf")
class ActivityDistance(keras.losses.Loss):
    """Mean squared difference of two maps averaged over channels: the peer needs one of equal shapes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        means = (keras.ops.mean(x, axis=-1) for x in (y_true, y_pred))
        return keras.ops.mean(keras.ops.square(keras.ops.subtract(*means)), axis=(1, 2))


def keras_distillation() -> Work:
    """`keras.distillation.Distiller` on the same pair; predictions are one output, with Huber loss."""
    cores = [network(size).core for size in ("teacher", "fast")]
    taps = [core.output["P3"]._keras_history.operation.name for core in cores]
    joined = [
        keras.layers.Concatenate()([c.output["class_logits"], c.output["box_encodings"]]) for c in cores
    ]
    teacher, student = (keras.Model(c.input, output) for c, output in zip(cores, joined, strict=True))
    logits = keras.distillation.LogitsDistillation(loss="mse")
    tap = keras.distillation.FeatureDistillation(ActivityDistance(), *taps)
    peer = keras.distillation.Distiller(teacher, student, [logits, tap], [0.5, 0.5])
    peer.compile(optimizer=keras.optimizers.AdamW(1e-3), loss="huber", jit_compile=False)
    given = batch(network("fast"))
    hot = tf.one_hot(given["targets"]["student"]["labels"], len(CLASS_NAMES))
    return _steps(peer, (given["images"], tf.concat([hot, tf.zeros((*hot.shape[:2], 4))], axis=-1)))
