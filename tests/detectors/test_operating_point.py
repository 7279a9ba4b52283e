"""The operating point of a detector is a part of its file, and of nothing else."""

import keras
import numpy as np
import pytest

import mkd_tf
from mkd_tf.detectors.files import load_detector, save_detector

NAMES = ("cat", "dog")
POINT = {"value": 0.42, "f1": 0.5, "chosen": "so", "per_class": {"cat": 0.4, "dog": None}}


@pytest.fixture(scope="module")
def network():
    return mkd_tf.Tiny(32, NAMES, size="fast")


def test_it_is_saved_and_loaded(network, tmp_path):
    network.operating_point = None
    save_detector(network, tmp_path / "before.keras")
    network.operating_point = POINT
    save_detector(network, tmp_path / "after.keras")
    before, after = (load_detector(tmp_path / f"{name}.keras") for name in ("before", "after"))
    # As in files that were written before there were any.
    assert before.operating_point is None and "operating_point" not in before.get_config()
    assert after.operating_point == POINT
    for a, b, c in zip(network.get_weights(), before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_every_kind_of_detector_has_one(network):
    images = keras.Input((32, 32, 3))
    cell = keras.layers.Conv2D(6, 32, strides=32)(images)
    outputs = {
        "class_logits": keras.layers.Reshape((1, 2))(cell[..., :2]),
        "box_encodings": keras.layers.Reshape((1, 4))(cell[..., 2:]),
    }
    anchors = mkd_tf.grid_anchors(32, strides=(32,))
    adapted = mkd_tf.adapt(keras.Model(images, outputs), anchors=anchors, class_names=NAMES)
    for detector in (network, adapted, mkd_tf.Ensemble([network]), mkd_tf.Flipped(network)):
        network.operating_point = detector.operating_point = None
        assert type(detector).from_config(detector.get_config()).operating_point is None
        detector.operating_point = POINT
        again = type(detector).from_config(detector.get_config())
        assert again.operating_point == POINT and again.class_names == NAMES


def test_that_before_a_compression_is_not_that_after_it(network):
    network.operating_point = POINT
    pruned = mkd_tf.CompressedDetector(network, method="prune(sparsity=0.5)", steps=2)
    assert pruned.operating_point is None and pruned.shipped().operating_point is None
    pruned.operating_point = POINT | {"value": 0.2}
    assert pruned.plain().operating_point == POINT | {"value": 0.2}
