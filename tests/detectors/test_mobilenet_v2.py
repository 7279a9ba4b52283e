"""The mobilenet_v2 family: what the harness does not see."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.layers import BATCH_NORM_MOMENTUM
from mkd_tf.detectors import MobileNetV2
from mkd_tf.detectors.assembly import backbone_of

NAMES = ("a", "b")


def test_it_computes_what_the_original_computes():
    keras.utils.set_random_seed(0)
    detector = MobileNetV2(64, NAMES, alpha=0.35)
    original = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    backbone = backbone_of(detector.core)
    layers = {layer.name: layer for layer in original.layers}
    for layer in backbone.layers[1:]:
        layer.set_weights(layers[layer.name].get_weights())
    left_out = [name for name in layers if name not in {x.name for x in backbone.layers}]
    assert left_out[1:] == ["Conv_1", "Conv_1_bn", "out_relu"], "all but the input and the classifier's part"
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    scaled = keras.applications.mobilenet_v2.preprocess_input(image.copy())
    names = {"C3": "block_5_add", "C4": "block_12_add", "C5": "block_16_project_BN"}
    expected = keras.Model(original.input, {k: layers[v].output for k, v in names.items()})(scaled)
    for tap, value in detector(image).items():
        if tap in names:
            np.testing.assert_allclose(value, expected[tap], rtol=1e-4, atol=1e-5)


def test_alpha_is_a_factor_of_the_channels():
    channels = {}
    for alpha in (0.35, 1.0):
        core = MobileNetV2(64, NAMES, alpha=alpha).core
        channels[alpha] = [core.output[tap].shape[-1] for tap in ("C3", "C4", "C5")]
        norms = [x for x in core.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert {x.momentum for x in norms} == {BATCH_NORM_MOMENTUM}
    assert channels == {0.35: [16, 32, 112], 1.0: [32, 96, 320]}


def test_an_alpha_that_does_not_exist_is_told():
    with pytest.raises(MkdError, match="mobilenet_v2 alpha: expected a number above 0, got 0"):
        MobileNetV2(64, NAMES, alpha=0)
