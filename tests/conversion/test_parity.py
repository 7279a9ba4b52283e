"""Differences by hand; a file of other weights is far off."""

import numpy as np

from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.conversion.tflite.heads import tflite_heads
from tests import harness
from tests.conversion import made


def test_differences_by_hand():
    found = {"scores": np.array([0.5, 0.25]), "box_encodings": np.array([1.0, -1.0])}
    expected = {"scores": np.array([0.5, 0.5]), "box_encodings": np.array([2.0, 1.0])}
    assert differences(found, expected) == {
        "scores": {"max": 0.25, "mean": 0.125},
        "box_encodings": {"max": 2.0, "mean": 1.5},
    }


def test_heads_are_the_detectors_outputs():
    images = made.images(2)
    outputs = made.detector().predict(images.astype("float32"), verbose=0)
    heads = keras_heads(made.detector(), images)
    np.testing.assert_allclose(heads["box_encodings"], outputs["box_encodings"], atol=1e-5)
    np.testing.assert_allclose(heads["scores"], 1 / (1 + np.exp(-outputs["class_logits"])), atol=1e-5)


def test_other_weights_are_far_off():
    images = made.images(2)
    other = to_tflite(harness.shake(harness.build("tiny(size='student')", made.CLASSES, seed=5)), "float32")
    found = differences(tflite_heads(other, images), keras_heads(made.detector(), images))
    assert found["scores"]["max"] > 0.3 and found["box_encodings"]["max"] > 0.5
