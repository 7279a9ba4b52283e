"""The resnet family: what the harness does not see."""

import keras
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.layers import BATCH_NORM_MOMENTUM
from mkd_tf.detectors import DETECTORS, ResNet
from mkd_tf.detectors.assembly import backbone_of

NAMES = ("a", "b")


def convolutions(detector):
    backbone = backbone_of(detector.core)
    names = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    return [n for n in names if "shortcut" not in n and not n.endswith("_0_conv")]


@pytest.mark.parametrize("depth", [10, 18, 34])
def test_depth_counts_layers_as_its_paper_does(depth):
    """Without the shortcuts' and with the classifier's, which a detector has no use for."""
    assert len(convolutions(ResNet(64, NAMES, depth=depth, width=0.125))) + 1 == depth


def test_width_is_a_factor_of_the_channels():
    channels = {}
    for width in (0.25, 0.5):
        core = ResNet(64, NAMES, width=width).core
        channels[width] = [core.output[tap].shape[-1] for tap in ("C3", "C4", "C5")]
    assert channels == {0.25: [32, 64, 128], 0.5: [64, 128, 256]}
    assert ResNet(64, NAMES).get_config()["width"] == 0.5
    thin = ResNet(64, NAMES, width=0.01).core
    assert [thin.output[tap].shape[-1] for tap in ("C3", "C4", "C5")] == [8, 8, 8]


@pytest.mark.slow
def test_depth_50_is_the_original_layer_by_layer():
    detector = ResNet(64, NAMES, depth=50, pyramid=16)
    original = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    ours = {layer.name: layer for layer in backbone_of(detector.core).layers}
    assert [n for n in ours if n != "scaled_images"] == [layer.name for layer in original.layers[1:]]
    assert len(convolutions(detector)) + 1 == 50
    momenta = {x.momentum for x in ours.values() if isinstance(x, keras.layers.BatchNormalization)}
    assert momenta == {BATCH_NORM_MOMENTUM}


def test_a_form_that_does_not_exist_is_told():
    with pytest.raises(MkdError, match="resnet depth: expected one of 10, 18, 34, 50, got 20"):
        DETECTORS.build("resnet(depth=20)", image_size=64, class_names=NAMES)
    with pytest.raises(MkdError, match="resnet width at depth 50: expected 1, got 0.5. Leave width out"):
        ResNet(64, NAMES, depth=50, width=0.5)
    with pytest.raises(MkdError, match="resnet width: expected a number above 0, got -1"):
        ResNet(64, NAMES, width=-1)


def test_two_of_one_form_have_equal_names():
    first, second = (ResNet(64, NAMES, width=0.125) for _ in range(2))
    assert [w.path for w in first.core.weights] == [w.path for w in second.core.weights]
