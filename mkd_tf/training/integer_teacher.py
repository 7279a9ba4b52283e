"""A frozen teacher as its int8 file, inside the training step.

On a CPU the teacher's forward pass is more than half of a step of the defaults, and its int8 file
takes half of the processor time (docs/performance.md). It is calibrated on augmented images of the
stage that it teaches, the same ones for the same run, and is never stored: a run that goes on makes
the same file again.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mkd_tf.checks import MkdError, check_no_clash, fail
from mkd_tf.config import Config
from mkd_tf.conversion.base import CALIBRATION_IMAGES
from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.tflite.convert import to_tflite
from mkd_tf.conversion.tflite.runner import RAW, TFLiteRunner
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors import Detector
from mkd_tf.distillation.outputs import resized
from mkd_tf.registry import parse_specs
from mkd_tf.training.answer_terms import answers_only, guide_terms, is_enough
from mkd_tf.training.plan import Stage


class IntegerTeacher(keras.layers.Layer):
    """Answers as `detector` does with `class_logits` and `box_encodings`, from an int8 file.

    Args:
      detector: the network that it stands for; only its shapes and anchors are kept.
      content: its raw int8 file.

    Attributes:
      anchors, image_size: of the detector.
      content: as above.
    """

    def __init__(self, detector: Detector, content: bytes):
        super().__init__(name=f"{detector.name}_int8", trainable=False, dtype="float32")
        self.anchors: Anchors = detector.anchors
        self.image_size: int = detector.image_size
        self._outputs = {name: keras.KerasTensor(detector.output[name].shape) for name in RAW}
        self.content, self._runner = content, TFLiteRunner(content)
        self.supports_jit = False  # An interpreter is no operation of XLA.
        self.built = True

    @property
    def output(self) -> dict[str, keras.KerasTensor]:
        """Shapes of the outputs, by name: what `outputs.port_of` reads of a network."""
        return self._outputs

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        """Returns `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]` of images in 0..255."""
        found = tf.numpy_function(self._predict, [images], [tf.float32] * len(RAW))
        return {
            name: tf.ensure_shape(value, (images.shape[0], *self._outputs[name].shape[1:]))
            for name, value in zip(RAW, found, strict=True)
        }

    def _predict(self, images: np.ndarray) -> list[np.ndarray]:
        found = self._runner.outputs(images)
        return [np.concatenate([outputs[name] for outputs in found]) for name in RAW]


def check_precision(config: Config) -> None:
    """Raises `MkdError` for options that do not go with `--teacher_precision=int8`."""
    if config.roles.teacher_precision == "float32":
        return
    clashes = {
        f"--teacher={config.roles.teacher}, which has no network": answers_only(config.roles.teacher),
        f"--distribution={config.run.distribution}": config.run.distribution != "none",
        "--jit_compile=true": config.run.jit_compile == "true",
        f"--teacher_views={config.roles.teacher_views}": config.roles.teacher_views != "none",
        "several teachers": "," in config.roles.teacher_weights,
    }
    expected = "one network, on one replica and without XLA, whose int8 file answers"
    check_no_clash("teacher_precision int8", expected, clashes)


def beyond_predictions(strategies: str, guide_strategies: str = "") -> list[str]:
    """Returns the names of the strategies that need more of the teacher than its predictions."""
    specs = [*parse_specs(strategies, "strategies"), *parse_specs(guide_strategies, "guide_strategies")]
    return [spec.name for spec in specs if not is_enough(spec)]


def integer_teacher(
    stage: Stage,
    teacher: Detector,
    batches: Callable[[int], tf.data.Dataset],
    config: Config,
    say: Callable[[str], None],
) -> Detector | IntegerTeacher:
    """Returns the teacher as its int8 file, itself where a strategy reads its feature maps.

    Args:
      stage: in which it teaches.
      teacher: the trained network.
      batches: makes the training batches of the stage from a step on; the first ones calibrate.
      config: of the run.
      say: prints a line.

    Raises:
      MkdError: if it cannot be converted.
    """
    others = beyond_predictions(stage.strategies, guide_terms(config.roles) if stage.guide else "")
    if others:
        names = ", ".join(dict.fromkeys(others))
        say(f"{stage.role}: the teacher computes in float32, since {names} reads more than its predictions")
        return teacher
    try:
        content = to_tflite(teacher, "int8", _calibration(batches(0), teacher), "raw")
    except MkdError:
        raise
    except Exception as error:  # What a converter raises is not declared anywhere.
        reason = " ".join(str(error).split())[:160]
        fail(
            "teacher_precision int8",
            expected="a teacher that becomes an int8 file",
            got=f"{teacher.name} ({reason})",
            do="Use --teacher_precision=float32.",
        )
    say(f"{stage.role}: the teacher answers from its int8 file, {len(content) / 1e6:.2f} MB")
    return IntegerTeacher(teacher, content)


def _calibration(batches: tf.data.Dataset, teacher: Detector) -> Calibration:
    """Returns the first augmented images of a stage at the teacher's size."""
    found: list[np.ndarray] = []
    for batch in batches:
        images = ops.convert_to_numpy(resized(batch["images"], teacher))
        found += list(np.clip(np.rint(images), 0, 255).astype("uint8"))
        if len(found) >= CALIBRATION_IMAGES:
            break
    chosen = found[:CALIBRATION_IMAGES]
    return Calibration(np.stack(chosen), tuple(str(i) for i in range(len(chosen))))
