"""Training steps on images of noise, of the pair of `configs/bccd.cfg` and of ResNet-50 with MobileNetV2."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.benchmarks.cases import Work
from mkd_tf.detection import targets as target_math
from mkd_tf.detectors import Detector, build_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.optimizers import FusedAdamW
from mkd_tf.distillation.outputs import outputs_of, port_of
from mkd_tf.strategies import hint
from mkd_tf.training.networks import strategies_of
from mkd_tf.training.plan import MKD, balance_of, expanded
from mkd_tf.training.source_cache import SourceCache, what_terms_read

BATCH, SIDE, OBJECTS = 16, 192, 12
CLASS_NAMES = ("platelets", "red", "white")
DEFAULT = "soft_classes, soft_boxes(weight=2.0)"
_LENGTH = 100_000
"""Steps of the run that is said to be timed: all terms act in its beginning."""


def network(size: str) -> Detector:
    """Returns an untrained network of the small pair; `fast` is the student."""
    return _build(f"tiny(size='{size}')", SIDE)


def _build(spec: str, side: int) -> Detector:
    keras.utils.set_random_seed(0)
    return build_detector(spec, "", image_size=side, class_names=CLASS_NAMES)


def some_boxes(count: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Returns random boxes `[count, OBJECTS, 4]` yxyx in pixels, and labels."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.7 * side, (count, OBJECTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, low.shape) * side], axis=-1)
    return boxes.astype("float32"), rng.integers(0, len(CLASS_NAMES), (count, OBJECTS)).astype("int32")


def _steps(model: keras.Model, batches: tf.data.Dataset) -> Work:
    """Returns single steps of a compiled model, as `fit` runs them."""
    model.make_train_function()
    iterator = iter(batches)

    def call() -> None:
        np.asarray(model.train_function(iterator)["loss"])

    return Work(call, "step")


def _repeated(data: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(data).repeat()


def _answered(data: dict[str, Any], distiller: Distiller) -> tf.data.Dataset:
    """Returns the batch again and again, with what its sources say read from the file of a cache."""
    given = _repeated(data)
    read = what_terms_read(distiller, given.element_spec)
    networks = {role: distiller.sources[role] for role in read}
    shapes = {role: {name: port_of(networks[role]).shape(name) for name in read[role]} for role in read}
    numbers = np.arange(len(data["images"]))
    views = np.stack([numbers, np.zeros_like(numbers), np.zeros_like(numbers)], axis=1)
    folder = tempfile.TemporaryDirectory()
    compute = functools.partial(outputs_of, networks, training=False)
    cache = SourceCache(Path(folder.name, "sources"), "benchmark", numbers, 1, shapes, compute)
    # Its file is open as long as it is read.
    folder.cleanup()
    return cache.answered(_repeated(data | {"views": tf.constant(views)}))


@dataclasses.dataclass(frozen=True)
class Pair:
    """Networks whose steps are timed.

    Attributes:
      teacher, student, guide: specs; an empty guide for none.
      side: of the images, in pixels.
      batch: images of a step.
      calls: how many steps are timed, at most; 0 for as many as are asked for.
    """

    teacher: str
    student: str
    guide: str = ""
    side: int = SIDE
    batch: int = BATCH
    calls: int = 0

    def data(self, student: Detector) -> dict[str, Any]:
        """Returns a batch of the distiller."""
        boxes, labels = some_boxes(self.batch, self.side)
        weights = np.ones(labels.shape, "float32")
        found = target_math.assign(student.anchors, boxes, labels, weights, len(CLASS_NAMES))
        shape = (self.batch, self.side, self.side, 3)
        images = np.random.default_rng(1).uniform(0, 255, shape).astype("float32")
        ones = tf.ones(self.batch)
        targets = {"student": found | {"known": ones, "labelled": ones}}
        return tf.nest.map_structure(tf.convert_to_tensor, {"images": images, "targets": targets})

    def _distilling(
        self,
        strategies: str,
        roles: tuple[str, ...] = (),
        balance: str = "fixed",
        progress: float = 0.0,
        is_kept: bool = False,
    ) -> Work:
        student = _build(self.student, self.side)
        sources: dict[str, Any] = {role: _build(getattr(self, role), self.side) for role in roles}
        given = strategies_of(strategies)
        distiller = Distiller(student, **sources, strategies=given, beta=2.0, balance=balance, steps=_LENGTH)
        distiller.compile(optimizer=FusedAdamW(1e-3), jit_compile=False)
        distiller.optimizer.iterations.assign(int(progress * _LENGTH))
        for variable in distiller.variables if progress else ():
            # Of a hint's basis, which is measured in the first steps alone.
            if variable.name == "observed":
                variable.assign(hint.OBSERVED)
        data = self.data(student)
        batches = _answered(data, distiller) if is_kept else _repeated(data)
        return dataclasses.replace(_steps(distiller, batches), calls=self.calls)

    def _forward(self, spec: str) -> Work:
        model = _build(spec, self.side)
        images = self.data(model)["images"]
        run = tf.function(lambda x: model(x, training=False)["class_logits"])
        return Work(lambda: run(images).numpy(), "step", calls=self.calls)

    def student_alone(self) -> Work:
        """The student on labels: forward, backward, optimiser."""
        return self._distilling("")

    def student_images(self) -> Work:
        """A step of the student alone, of one image: how fast batches are consumed."""
        return dataclasses.replace(self.student_alone(), unit="image", units=self.batch)

    def teacher_forward(self) -> Work:
        """The teacher in inference mode."""
        return self._forward(self.teacher)

    def guide_forward(self) -> Work:
        """The guide in inference mode."""
        return self._forward(self.guide)

    def default(self, is_kept: bool = False) -> Work:
        """The default strategies."""
        return self._distilling(DEFAULT, ("teacher",), is_kept=is_kept)

    def mkd(self, progress: float = 0.0, is_kept: bool = False) -> Work:
        """The whole method, with the pair's guide, while all of its terms act."""
        strategies = expanded(MKD, has_guide=bool(self.guide))
        roles = ("teacher", "guide") if self.guide else ("teacher",)
        return self._distilling(strategies, roles, balance_of(MKD, "auto"), progress, is_kept)

    def late_mkd(self) -> Work:
        """The whole method in the last 40 % of a run, when the terms of hidden layers have ended."""
        return self.mkd(progress=0.7)

    def kept_default(self) -> Work:
        """The default strategies with `--teacher_cache`, in a step in which the cache holds all."""
        return self.default(is_kept=True)

    def kept_mkd(self) -> Work:
        """The whole method with the cache, while all of its terms act."""
        return self.mkd(is_kept=True)

    def kept_late_mkd(self) -> Work:
        """The whole method with the cache, in the last 40 % of a run."""
        return self.mkd(progress=0.7, is_kept=True)


SMALL = Pair("tiny(size='teacher')", "tiny(size='fast')", "tiny(size='guide')")
LARGE = Pair("resnet(depth=50)", "mobilenet_v2", side=320, batch=8, calls=4)


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
    given = SMALL.data(network("fast"))
    hot = tf.one_hot(given["targets"]["student"]["labels"], len(CLASS_NAMES))
    batch = given["images"], tf.concat([hot, tf.zeros((*hot.shape[:2], 4))], axis=-1)
    return _steps(peer, _repeated(batch))
