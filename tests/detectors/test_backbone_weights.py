"""Weights of a backbone: from a file of the original, from another detector, from ImageNet or not."""

import time
import urllib.request

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors import (
    MobileNetV2,
    ResNet,
    Tiny,
    backbone_weights,
    build_detector,
    takes_backbone_weights,
)
from mkd_tf.detectors.assembly import backbone_of
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.detectors.mobilenet_v2 import original_of
from mkd_tf.detectors.resnet import ORIGINAL_50

NAMES = ("a", "b")
SIDE = 64
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def image():
    coarse = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype("float32")


def shaken(model):
    """Batch statistics as after training, so that a forgotten one is seen."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [w + rng.uniform(0.0, 0.3, w.shape).astype("float32") for w in layer.get_weights()]
            )
    return model


def weights_of(model, without=()):
    names = [x for x in model.layers if x.weights and x.name not in without]
    return {x.name: x.get_weights() for x in names}


def assert_same(found, expected):
    for name, arrays in found.items():
        for a, b in zip(arrays, expected[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """Files of a small original, in every form a user may have it, and its weights."""
    keras.utils.set_random_seed(7)
    folder = tmp_path_factory.mktemp("mobilenet")
    arguments = {"alpha": 0.35, "weights": None}
    original = shaken(keras.applications.MobileNetV2((SIDE, SIDE, 3), include_top=False, **arguments))
    original.save_weights(folder / "bare.weights.h5")
    original.save(folder / "bare.h5")
    original.save(folder / "bare.keras")
    with_top = keras.applications.MobileNetV2(include_top=True, **arguments)
    for layer in with_top.layers:
        if layer.weights and layer.name != "predictions":
            layer.set_weights(original.get_layer(layer.name).get_weights())
    with_top.save_weights(folder / "top.weights.h5")
    with_top.save(folder / "top.h5")
    return folder, weights_of(original)


@pytest.mark.parametrize("file", ["bare.weights.h5", "bare.h5", "bare.keras", "top.weights.h5", "top.h5"])
def test_a_file_of_the_original(mobilenet, file):
    folder, expected = mobilenet
    detector = MobileNetV2(SIDE, NAMES, alpha=0.35, backbone_weights=str(folder / file))
    found = weights_of(backbone_of(detector.core))
    assert len(found) > 90
    assert_same(found, expected)


def test_a_detector_on_the_same_backbone(tmp_path):
    trained = ResNet(SIDE, ("x", "y", "z"), width=0.125, pyramid=16)
    shaken(trained.core)
    save_detector(trained, tmp_path / "trained.keras")
    path = str(tmp_path / "trained.keras")
    detector = ResNet(96, NAMES, width=0.125, pyramid=24, backbone_weights=path)
    assert_same(weights_of(backbone_of(detector.core)), weights_of(trained.core))


def test_a_saved_detector_asks_for_nothing(mobilenet, tmp_path, monkeypatch):
    folder, _ = mobilenet
    detector = MobileNetV2(SIDE, NAMES, alpha=0.35, backbone_weights=str(folder / "bare.weights.h5"))
    save_detector(detector, tmp_path / "detector.keras")
    assert "backbone_weights" not in detector.get_config()
    monkeypatch.setattr(backbone_weights, "load_backbone", None)
    monkeypatch.setattr("mkd_tf.detectors.mobilenet_v2.load_backbone", None)
    again = load_detector(tmp_path / "detector.keras")
    assert_same(weights_of(again.core), weights_of(detector.core))


@pytest.mark.slow
def test_resnet_50_computes_on_our_input_what_the_original_does_on_its_own(tmp_path):
    """Real preprocessing (BGR less the means); a grey frame stands for what differs, the padding."""
    keras.utils.set_random_seed(3)
    original = shaken(
        keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    )
    original.save_weights(tmp_path / "resnet50.weights.h5")
    detector = ResNet(
        SIDE, NAMES, depth=50, pyramid=16, backbone_weights=str(tmp_path / "resnet50.weights.h5")
    )
    preprocess = keras.applications.resnet.preprocess_input

    taps = {"C3": "conv3_block4_out", "C4": "conv4_block6_out", "C5": "conv5_block3_out"}
    first = original.get_layer("conv1_conv")
    rest = keras.Model(first.output, {tap: original.get_layer(name).output for tap, name in taps.items()})
    framed = np.pad(image(), ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=127.5)
    expected = rest(first(preprocess(framed)))
    found = detector(image())
    for tap in taps:
        scale = float(np.abs(expected[tap]).max())
        np.testing.assert_allclose(found[tap], expected[tap], rtol=0, atol=1e-4 * scale, err_msg=tap)

    ours = keras.Model(detector.core.input, detector.core.get_layer("conv1_conv").output)
    theirs = keras.Model(original.input, first.output)(preprocess(image())).numpy()
    error = np.abs(ours(image() / 127.5 - 1).numpy() - theirs) / np.abs(theirs).max()
    assert error[:, 2:-1, 2:-1].max() < 1e-5, "the first convolution differs inside the image"
    assert 1e-4 < error.max() < 0.1, "padding with mid-grey instead of the mean is a small difference"


def test_imagenet_comes_through_keras_and_its_cache(mobilenet, monkeypatch):
    folder, expected = mobilenet
    asked = []

    def fake(name, url, **options):
        asked.append((name, url, options["cache_subdir"]))
        return str(folder / "bare.h5")

    monkeypatch.setattr(backbone_weights, "refusal", lambda *_: None)
    monkeypatch.setattr(keras.utils, "get_file", fake)
    detector = build_detector("mobilenet_v2(alpha=0.35)", "imagenet", image_size=SIDE, class_names=NAMES)
    assert_same(weights_of(backbone_of(detector.core)), expected)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    base = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    assert asked == [(name, base + name, "models")]


@pytest.mark.slow
def test_our_addresses_are_those_of_keras(monkeypatch):
    """Keras downloads; we need the address before it does, to fail in time."""
    asked = []

    def fake(name, url, **options):
        asked.append((url, options.get("file_hash", "")))
        raise InterruptedError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fake)
    for alpha, side in ((0.35, 96), (1.0, 224)):
        with pytest.raises(InterruptedError):
            keras.applications.MobileNetV2((side, side, 3), alpha=alpha, include_top=False)
        assert asked.pop() == (original_of(alpha, side).url, "")
    with pytest.raises(InterruptedError):
        keras.applications.ResNet50(include_top=False)
    assert asked.pop() == (ORIGINAL_50.url, ORIGINAL_50.md5)


@pytest.mark.parametrize("answer", ["refused", "silent"])
def test_without_a_network_one_line_says_the_way_out(answer, monkeypatch, tmp_path):
    def answers(opener, request, timeout):
        if answer == "silent":
            time.sleep(2)
        raise OSError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", answers)
    monkeypatch.setattr(backbone_weights, "ANSWER_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(MkdError) as error:
        build_detector("mobilenet_v2", "imagenet", image_size=SIDE, class_names=NAMES)
    text = str(error.value)
    assert time.monotonic() - began < 30
    assert text.startswith("backbone_weights of mobilenet_v2: expected to download https://storage.")
    assert {"refused": "Name or service not known", "silent": "no answer within"}[answer] in text
    assert "give its path as backbone_weights" in text
    assert "\n" not in text


def test_a_download_that_breaks_off_is_told(monkeypatch):
    def broken(*_, **__):
        raise Exception("URL fetch failure on ...: None -- timed out\n")

    monkeypatch.setattr(backbone_weights, "refusal", lambda *_: None)
    monkeypatch.setattr(keras.utils, "get_file", broken)
    with pytest.raises(MkdError, match="expected to download .*timed out. Download it elsewhere"):
        build_detector("mobilenet_v2", "imagenet", image_size=SIDE, class_names=NAMES)


def test_the_default_yields_to_the_spec_and_passes_by_other_families(mobilenet):
    folder, expected = mobilenet
    spec = f"mobilenet_v2(alpha=0.35, backbone_weights={str(folder / 'bare.h5')!r})"
    detector = build_detector(spec, "nowhere.h5", image_size=SIDE, class_names=NAMES)
    assert_same(weights_of(backbone_of(detector.core)), expected)
    assert isinstance(build_detector("tiny", "nowhere.h5", image_size=SIDE, class_names=NAMES), Tiny)
    families = ("tiny", "resnet(depth=50)", "mobilenet_v2")
    assert [takes_backbone_weights(spec) for spec in families] == [False, True, True]


def test_weights_that_do_not_fit_are_told(mobilenet, tmp_path):
    folder, _ = mobilenet
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    save_detector(Tiny(SIDE, NAMES, widths=(8, 8, 8, 8), pyramid=8), tmp_path / "tiny.keras")
    resnet, narrow, wide = (
        ResNet(SIDE, NAMES, width=0.125),
        MobileNetV2(SIDE, NAMES),
        MobileNetV2(SIDE, NAMES, 0.5),
    )
    for detector, alpha, weights, message in (
        (narrow, 0.35, "nowhere.h5", "expected imagenet or a file, got nowhere.h5, which does not exist"),
        (narrow, 0.35, tmp_path / "broken.h5", "got a file that cannot be read so"),
        (narrow, 0.35, tmp_path / "tiny.keras", "of layer Conv1, got no layer of that name"),
        (wide, 0.5, folder / "bare.weights.h5", "got a file that cannot be read so"),
        (wide, 0.5, folder / "bare.keras", r"expected weights \[.*of layer .*, got \[\("),
        (resnet, None, folder / "bare.h5", "expected the .keras file of a detector"),
        (resnet, None, "imagenet", "got imagenet, which was not published for this form"),
        (narrow, 0.4, "imagenet", "got imagenet, which was not published for this form"),
    ):
        original = None if alpha is None else original_of(alpha, SIDE)
        with pytest.raises(MkdError, match=message) as error:
            backbone_weights.load_backbone(detector, str(weights), original)
        assert str(error.value).startswith("backbone_weights of ")
        assert "\n" not in str(error.value)
