"""The head of a detector: found in its graph, equal to what it does, and missed with a clear error."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.detectors.heads import head_of
from tests import harness

TAPS = ("P3", "P4", "P5")


@pytest.fixture(scope="module")
def detector():
    return harness.shake(harness.build("tiny(size='fast', bins=4)"))


def test_it_predicts_what_the_detector_predicts(detector):
    before = [np.array(v) for v in detector.variables]
    outputs = detector(harness.random_images(2), training=False)
    found = head_of(detector, TAPS)([outputs[tap] for tap in TAPS])
    assert set(found) == {"class_logits", "box_encodings"}
    for name, value in found.items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-5)
    for old, variable in zip(before, detector.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_gradients_reach_the_maps_and_no_variable(detector):
    shapes = [(1, *detector.output[tap].shape[1:]) for tap in TAPS]
    rng = np.random.default_rng(0)
    maps = [tf.Variable(rng.uniform(0, 6, shape).astype("float32")) for shape in shapes]
    with tf.GradientTape() as tape:
        found = head_of(detector, TAPS)(maps)["class_logits"]
    gradients = tape.gradient(found, [*maps, *detector.trainable_variables])
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients[:3])
    assert all(g is None for g in gradients[3:])


def test_the_detector_is_still_saved(detector, tmp_path):
    head_of(detector, TAPS)
    harness.check_files([detector], tmp_path)


def test_an_adapted_detector_has_the_head_behind_its_taps():
    images = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(4, 3, strides=32, padding="same", name="last")(images)
    outputs = {"class_logits": keras.layers.Conv2D(2, 1)(x), "box_encodings": keras.layers.Conv2D(4, 1)(x)}
    outputs = {name: keras.layers.Reshape((4, -1))(y) for name, y in outputs.items()}
    anchors = mkd_tf.grid_anchors(64, strides=(32,))
    made = mkd_tf.adapt(
        keras.Model(images, outputs), anchors=anchors, class_names=("a", "b"), taps={"P5": "last"}
    )
    found = made(np.ones((1, 64, 64, 3), "float32"))
    logits = head_of(made, ("P5",))([found["P5"]])["class_logits"]
    np.testing.assert_allclose(logits, found["class_logits"], atol=1e-6)


def test_predictions_that_need_more_are_told(detector):
    with pytest.raises(MkdError, match="head of .*: expected predictions that follow from P3, P4 alone"):
        head_of(detector, ("P3", "P4"))
    with pytest.raises(MkdError, match="got no tap P9 in a single network"):
        head_of(detector, ("P3", "P9"))
    with pytest.raises(MkdError, match="got no tap P3, P4, P5 in a single network"):
        head_of(mkd_tf.Flipped(detector), TAPS)
