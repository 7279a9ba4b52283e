"""Students that emulate int8: their file computes what they emulate, with ranges of their own."""

import functools

import numpy as np
import pytest

from mkd_tf.compression import CompressedDetector
from mkd_tf.conversion.tflite.convert import to_tflite
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.conversion.tflite.weights_report import weights_report
from mkd_tf.detectors.base import PREDICTIONS
from mkd_tf.edgetpu import placement
from mkd_tf.evaluation.runners import KerasRunner
from tests.conversion import made

IMAGES = 50


@functools.cache
def student() -> CompressedDetector:
    found = CompressedDetector(made.detector())
    found.prepare(made.images(16))
    return found


@functools.cache
def file(postprocess: str) -> bytes:
    return to_tflite(student(), "int8", None, postprocess)


def test_the_file_is_what_is_emulated():
    images = made.images(IMAGES, seed=5)
    expected = student().predict(images.astype("float32"), verbose=0)
    runner = TFLiteRunner(file("raw"))
    found = [runner.invoke(image) for image in images]
    for name in PREDICTIONS:
        values = np.concatenate([f[name] for f in found])
        step = np.diff(np.unique(values)).min()
        error = np.abs(values - expected[name]) / step
        assert error.max() < 3.01, name
        assert error.mean() < 0.1, name


def test_an_edge_tpu_takes_it():
    report = placement.check(file("detection"))
    assert report.problems == ()
    assert "AVERAGE_POOL_2D" not in report.versions()


def test_it_finds_what_the_emulation_finds():
    images = made.images(6, seed=7)
    ours, theirs = KerasRunner(student())(images), TFLiteRunner(file("detection"))(images)
    for a, b in zip(ours, theirs, strict=True):
        sure = a.scores >= 0.5
        assert sure.any()
        for score, label in zip(a.scores[sure], a.labels[sure], strict=True):
            assert (np.abs(b.scores[b.labels == label] - score) < 0.1).any()


def test_other_formats_are_of_its_floats():
    plain, content = student().plain(), to_tflite(student(), "float32", None, "raw")
    image = made.images(1, seed=3)
    expected = plain.predict(image.astype("float32"), verbose=0)
    found = TFLiteRunner(content).invoke(image[0])
    for name in PREDICTIONS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_no_calibration_is_asked_for():
    assert to_tflite(student(), "int8") == file("detection")


@pytest.mark.slow
def test_zeros_survive_quantisation():
    pruning = CompressedDetector(made.detector(), "prune(sparsity=0.5)", steps=4)
    for step in range(4):
        pruning.method.advance(pruning.twin, step)
    pruned = pruning.shipped()
    quantized = CompressedDetector(pruned, "qat(preserve='sparsity')")
    quantized.prepare(made.images(16))
    report = weights_report(to_tflite(quantized, "int8", None, "raw"))
    assert report["zeros"] >= 0.45
    kernel = quantized.plain().core.get_layer("stage5_b_conv").kernel.numpy()
    assert (kernel == 0).mean() >= 0.5  # The widest lose most.
