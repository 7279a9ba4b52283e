"""Heads with bins: box encodings as expectations of distributions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detection import layers
from mkd_tf.detectors.base import check_outputs
from mkd_tf.distillation.outputs import port_of
from tests import harness

SPEC = "tiny(bins=8)"


def test_an_untrained_head_says_the_anchor_itself():
    outputs = harness.build(SPEC).predict(harness.random_images(2), verbose=0)
    assert np.abs(outputs["box_encodings"]).max() < 1


def test_encodings_are_the_expectation_of_their_own_bins():
    harness.check_box_logits(harness.shake(harness.build(SPEC)).predict(harness.random_images(2), verbose=0))


def test_the_port_tells_the_bins():
    assert port_of(harness.build(SPEC)).shapes["box_logits"] == (84, 4, 8)


def test_bins_are_for_training_alone():
    detector = harness.build(SPEC)
    core = detector.inference_core()
    assert set(detector.inference().output) == set(core.output) == {"class_logits", "box_encodings"}
    # What lines the bins up by anchor stays behind as well.
    assert {len(x.output.shape) for x in core.layers if isinstance(x, keras.layers.Reshape)} == {3}


def test_the_expectation_is_not_trained():
    detector = harness.build(SPEC)
    frozen = [v.path for v in detector.variables if "expectation" in v.path]
    assert len(frozen) == 2
    assert not {v.path for v in detector.trainable_variables} & set(frozen)


def test_every_bin_learns():
    detector = harness.build(SPEC)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(detector(harness.random_images(2))["box_encodings"] - 2.0))
    kernels = [v for v in detector.trainable_variables if "_bins_" in v.path and "kernel" in v.path]
    assert len(kernels) == 4
    for gradient in tape.gradient(total, kernels):
        assert (np.abs(gradient).max(axis=(0, 1, 2)) > 0).all()


def test_without_bins_there_are_no_distributions():
    levels = [keras.Input((side, side, 8)) for side in (8, 4)]
    assert list(layers.predictions(levels, 3, depth=1, prior=0.01)) == ["class_logits", "box_encodings"]
    assert harness.build("tiny").output.keys() == harness.build(SPEC).output.keys() - {"box_logits"}


def softmaxes(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Softmax)]


@pytest.mark.parametrize("image_size", [192, 512])
def test_no_softmax_is_too_large_for_an_edge_tpu(image_size):
    core = harness.build(SPEC, image_size=image_size).inference_core()
    sizes = [np.prod(layer.output.shape[1:]) for layer in softmaxes(core)]
    assert max(sizes) <= 16_000
    assert sum(sizes) == 4 * 8 * sum((image_size // s) ** 2 for s in (8, 16, 32))


def test_bands_are_the_whole(monkeypatch):
    whole = harness.build(SPEC)
    monkeypatch.setattr(layers, "SOFTMAX_LIMIT", 3 * 8 * 8)  # Three rows of the first level's eight.
    parts = harness.build(SPEC, seed=1)
    assert len(softmaxes(parts.core)) == 4 * (3 + 1 + 1)
    for layer in whole.core.layers:  # Bands change the order of all the weights, not those of a layer.
        parts.core.get_layer(layer.name).set_weights(layer.get_weights())
    images = harness.random_images(2)
    expected = whole.predict(images, verbose=0)
    for name, found in parts.predict(images, verbose=0).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


def test_bands_suit_the_edge(monkeypatch):
    monkeypatch.setattr(layers, "SOFTMAX_LIMIT", 3 * 8 * 8)
    harness.check_int8(harness.shake(harness.build(SPEC)))


@pytest.mark.parametrize("bins", [1, -2])
def test_too_few_bins_are_told(bins):
    with pytest.raises(MkdError, match=f"bins.*: expected 0.*, got {bins}"):
        harness.build(f"tiny(bins={bins})")


def test_logits_of_another_shape_are_told():
    outputs = harness.build(SPEC).output
    with pytest.raises(MkdError, match=r"odd.box_logits: expected shape \[None, 84, 4, None\]"):
        check_outputs("odd", outputs | {"box_logits": keras.Input((84, 8))}, 84, 3)
