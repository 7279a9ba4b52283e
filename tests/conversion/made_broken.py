"""A detector with one layer that int8 ruins, and its files; made once in a process."""

import functools

from mkd_tf.conversion.calibration import Calibration
from mkd_tf.conversion.tflite.convert import float_core, to_tflite
from mkd_tf.detectors import Detector
from mkd_tf.diagnosis.layer_errors import Diagnosis, compare
from tests import harness
from tests.conversion import made

# Its output has no activation that would cut the range, and is added to the shortcut.
BAD = "stage3_b_conv"
_NORM = "stage3_b_bn"
FACTOR = 100


@functools.cache
def detector() -> Detector:
    """The detector of `made` with one channel's range a hundred times as wide."""
    broken = harness.build("tiny(size='student')", made.CLASSES)
    broken.set_weights(made.detector().get_weights())
    gamma = broken.core.get_layer(_NORM).gamma
    scale = gamma.numpy()
    scale[0] *= FACTOR
    gamma.assign(scale)
    return broken


@functools.cache
def calibration() -> Calibration:
    """Sixteen images."""
    return Calibration(made.images(16), tuple(f"image{i}" for i in range(16)))


@functools.cache
def files() -> tuple[bytes, bytes]:
    """The float and the int8 file."""
    return float_core(detector()), to_tflite(detector(), "int8", calibration())


@functools.cache
def diagnosis() -> Diagnosis:
    """On four of the calibration images, so that no value is outside of its range."""
    return compare(detector(), *files(), calibration().images[:4])
