"""The harness: what every line of DETECTORS must withstand, with no new test file.

A new detector is tested as soon as it is in the table; `VARIANTS` lists further
specs of it, where one is not enough. Every check is a function of one detector
that raises AssertionError, so that `test_harness.py` can also show each of them fail.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.compression.quantization import on_integers, quantization_aware, seed_ranges
from mkd_tf.compression.twin import keras_twin
from mkd_tf.detection.anchors import STRIDES
from mkd_tf.detectors import DETECTORS, Detector
from mkd_tf.detectors.base import PREDICTIONS, TAPS
from mkd_tf.edgetpu import placement
from tests import int8

ROOT = Path(__file__).resolve().parent.parent
IMAGE_SIZE = 64
CLASS_COUNTS = (1, 3)
PRIOR = 0.01
VARIANTS = {
    "tiny": (
        "tiny(size='teacher')",
        "tiny(size='guide')",
        "tiny(size='student')",
        "tiny(size='fast')",
        "tiny(bins=8)",
    ),
    "resnet": ("resnet(width=0.25)", "resnet(depth=50, pyramid=32)"),
    "efficientnet_lite": ("efficientnet_lite(width=0.25, pyramid=16)",),
}
SLOW = ("resnet(depth=50, pyramid=32)",)
SPECS = tuple(spec for name in DETECTORS for spec in VARIANTS.get(name, (name,)))
# Without those that differ from another in the numbers of channels alone.
STRUCTURES = tuple(s for s in SPECS if s not in ("tiny(size='teacher')", "tiny(size='guide')"))

# The networks a strategy meets, by role: spec and side of the input in pixels.
ROLES: dict[str, dict[str, tuple[str, int]]] = {
    "teacher": {
        "teacher": ("tiny(size='teacher', bins=8)", 64),
        "student": ("tiny(size='student', bins=8)", 64),
    },
    "guide": {
        "teacher": ("tiny(size='teacher', bins=8)", 64),
        "guide": ("tiny(size='guide', bins=8)", 64),
        "student": ("tiny(size='student', bins=8)", 64),
    },
    "larger_teacher": {
        "teacher": ("tiny(size='teacher', bins=8)", 128),
        "student": ("tiny(size='student', bins=8)", 64),
    },
}

_LOAD_ELSEWHERE = """
import json, sys
import mkd_tf
import keras
import numpy as np
for folder in sys.argv[1:]:
    model = keras.saving.load_model(folder + "/model.keras", safe_mode=True)
    np.savez(folder + "/outputs.npz", **model.predict(np.load(folder + "/images.npy"), verbose=0))
    print(json.dumps({"class": type(model).__name__, "name": model.name, "class_names": model.class_names,
                      "image_size": model.image_size, "anchors": len(model.anchors),
                      "layers": [layer.name for layer in model.core.layers]}))
"""


def build(spec: str, num_classes: int = 3, image_size: int = IMAGE_SIZE, seed: int = 0) -> Detector:
    """Builds an untrained detector, the same one for the same seed."""
    keras.utils.set_random_seed(seed)
    names = tuple(f"class{i}" for i in range(num_classes))
    return DETECTORS.build(spec, image_size=image_size, class_names=names)


def shake(detector: Detector, seed: int = 1) -> Detector:
    """Moves batch norms away from the identity and biases apart, as training does; returns the detector.

    On an untrained one a converter that forgets to fold a batch norm is not seen.
    And the converter of tensorflow 2.21 spoils a quantisation-aware convolution
    whose biases are all equal, as an untrained prior is: it takes the first
    channel's scale for every channel (a class logit of -4.6 became -9.0).
    """
    rng = np.random.default_rng(seed)
    for layer in detector.core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.7, 1.3, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.7, 1.3, layer.moving_variance.shape))
        elif isinstance(layer, keras.layers.Conv2D) and layer.use_bias and layer.trainable:
            # Training makes distributions peaked; flat ones have hardly an expectation to measure.
            deviation = 1.0 if "_bins_" in layer.name else 0.1
            layer.bias.assign_add(rng.normal(0, deviation, layer.bias.shape))
    return detector


def random_images(count: int, image_size: int = IMAGE_SIZE, seed: int = 0) -> np.ndarray:
    """Returns `[count, S, S, 3]` float32 in 0..255: blocks of colour, every other one with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 8, 8, 3))
    images = coarse.repeat(image_size // 8, axis=1).repeat(image_size // 8, axis=2)
    images[::2] += rng.normal(0, 40, images[::2].shape)
    return np.clip(images, 0, 255).astype("float32")


def check_outputs(detector: Detector, num_classes: int) -> None:
    """Names, shapes and types of the outputs; the taps' strides; the anchors' order by level."""
    outputs = detector.predict(random_images(2, detector.image_size), verbose=0)
    assert set(outputs) - {"box_logits"} == set(PREDICTIONS + TAPS)
    assert outputs["class_logits"].shape == (2, len(detector.anchors), num_classes)
    assert outputs["box_encodings"].shape == (2, len(detector.anchors), 4)
    check_box_logits(outputs)
    assert {x.dtype for x in outputs.values()} == {np.dtype("float32")}
    grids = [detector.image_size // stride for stride in STRIDES]
    for tap, grid in zip(TAPS, grids * 2, strict=True):
        assert outputs[tap].shape[:3] == (2, grid, grid), tap
    assert len({outputs[tap].shape[3] for tap in TAPS[3:]}) == 1, "the pyramid's levels differ in width"
    assert detector.anchors.level_counts == tuple(grid * grid for grid in grids)


def check_box_logits(outputs: Mapping[str, np.ndarray]) -> None:
    """A head with bins returns their logits too: their expectation is the box encodings, anchor by anchor."""
    if "box_logits" in outputs:
        assert outputs["box_logits"].shape[:3] == outputs["box_encodings"].shape
        probability, values = _distributions(outputs["box_logits"])
        np.testing.assert_allclose(outputs["box_encodings"], (probability * values).sum(axis=-1), atol=1e-4)


def check_initial_probability(detector: Detector, prior: float = PRIOR) -> None:
    """Every class of an untrained detector is about as likely as its prior, at every level.

    A wrong one costs the first epochs, and an output's shape does not show it. About
    is a factor of 4: random kernels on wide features move a logit by one or so.
    """
    logits = detector.predict(random_images(4, detector.image_size), verbose=0)["class_logits"]
    for level in np.split(logits, np.cumsum(detector.anchors.level_counts)[:-1], axis=1):
        probability = np.median(1 / (1 + np.exp(-level)), axis=(0, 1))
        assert (probability > prior / 4).all(), probability
        assert (probability < prior * 4).all(), probability


def check_finite(detector: Detector) -> None:
    """Finite on black, on white and on noise, in inference and in training mode."""
    side = detector.image_size
    noise = np.random.default_rng(0).uniform(0, 255, (side, side, 3))
    extremes = np.stack([np.zeros_like(noise), np.full_like(noise, 255.0), noise]).astype("float32")
    for training in (False, True):
        for name, x in detector(extremes, training=training).items():
            assert np.isfinite(keras.ops.convert_to_numpy(x)).all(), name


def check_calls(core: keras.Model) -> None:
    """Each layer is called once, except convolutions that end in a prediction.

    tfmot cannot fold a batch norm that stands alone, so one that is shared, or
    whose convolution is, cannot be quantised.
    """
    layers = {layer.name: layer for layer in core.layers}
    for entry in core.get_config()["layers"]:
        layer = layers[entry["name"]]
        shared = len(entry["inbound_nodes"]) > 1
        is_prediction = isinstance(layer, keras.layers.Conv2D) and layer.use_bias
        assert not shared or is_prediction, f"{layer.name} is called {len(entry['inbound_nodes'])} times"


def check_files(detectors: Sequence[Detector], folder: Path) -> None:
    """A `.keras` file says all there is to say, in safe mode, to a process that only imports mkd_tf."""
    expected, folders = [], []
    for i, detector in enumerate(detectors):
        own = folder / f"{i}_{detector.name}"
        own.mkdir()
        images = random_images(2, detector.image_size)
        expected.append(detector.predict(images, verbose=0))
        detector.save(own / "beside.keras")
        (own / "beside.keras").rename(own / "model.keras")
        np.save(own / "images.npy", images)
        folders.append(str(own))
    # One process for all: most of its time is that of importing TensorFlow.
    command, environment = [sys.executable, "-c", _LOAD_ELSEWHERE, *folders], {"PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, env=os.environ | environment, cwd=folder, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    told = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    for detector, found, wanted, own in zip(detectors, told, expected, folders, strict=True):
        assert found == {
            "class": type(detector).__name__,
            "name": detector.name,
            "class_names": list(detector.class_names),
            "image_size": detector.image_size,
            "anchors": len(detector.anchors),
            "layers": [layer.name for layer in detector.core.layers],
        }
        with np.load(Path(own, "outputs.npz")) as outputs:
            _check_equal(outputs, wanted, tolerance=1e-6)


def check_weights(detector: Detector, fresh: Detector, folder: Path) -> None:
    """Weights alone make an equal detector of another one of the same form."""
    images = random_images(2, detector.image_size)
    expected = detector.predict(images, verbose=0)
    before = fresh.predict(images, verbose=0)
    assert not np.allclose(before["class_logits"], expected["class_logits"]), "they were equal before"
    detector.save_weights(folder / "model.weights.h5")
    fresh.load_weights(folder / "model.weights.h5")
    _check_equal(fresh.predict(images, verbose=0), expected, tolerance=1e-6)


def operator_problems(content: bytes, detector: Detector) -> list[str]:
    """What an Edge TPU would refuse, but for the size: a network of 24 M parameters is a teacher."""
    problems = list(placement.check(content).problems)
    too_large = [p for p in problems if "of parameters, more than the" in p]
    assert bool(too_large) == (detector.count_params() > 8 * 2**20), problems
    return [p for p in problems if p not in too_large]


def check_int8(detector: Detector) -> None:
    """The core survives post-training quantisation to int8, and the file suits an Edge TPU."""
    core, side = detector.inference_core(), detector.image_size
    scaled = random_images(24, side) / 127.5 - 1
    content = int8.int8_file(core, (1, side, side, 3), scaled[:16])
    assert operator_problems(content, detector) == []
    steps = int8.scales(content)
    assert set(steps) == {"images", *PREDICTIONS}
    assert abs(steps["images"] - 1 / 127.5) < 1e-4, "the input's step is not the normalisation"
    found, expected = int8.run(content, scaled[16:]), core.predict(scaled[16:], verbose=0)
    for name in PREDICTIONS:
        error, spread = np.abs(found[name] - expected[name]), expected[name].std()
        assert error.max() < spread / 2, f"{name}: largest error {error.max() / spread:.2f} of the spread"
        assert error.mean() < spread / 10, f"{name}: mean error {error.mean() / spread:.2f} of the spread"


def check_quantization_aware(detector: Detector) -> None:
    """The tf_keras twin computes the same; tfmot quantises it; its int8 file computes the same again."""
    core, side = detector.inference_core(), detector.image_size
    factor, offset = on_integers((1 / 127.5, -1.0))
    # Whole, as the pixels of images are: each is an integer of the file.
    scaled = np.rint(random_images(6, side)) * factor + offset
    twin = keras_twin(core, batch_size=1)
    reference = core.predict(scaled, verbose=0)
    _check_equal(_one_by_one(twin, scaled), reference, tolerance=1e-5)
    model = quantization_aware(twin)
    # Of half the contrast, so that they alone would not make the input's range that of all pixels.
    seed_ranges(model, (image[None] / 2 for image in scaled))
    content = int8.int8_file(model, (1, side, side, 3))
    assert operator_problems(content, detector) == []
    steps, found = int8.scales(content), int8.run(content, scaled)
    assert abs(steps["images"] - 1 / 127.5) < 1e-4, "the input's step is not the normalisation"
    factors = {"class_logits": 1.0, "box_encodings": _sensitivity(detector, scaled)}
    for name, expected in _one_by_one(model, scaled).items():
        # What is left are sums in floats; deep networks add that up: boxes of ResNet-50 reach 4, all else 1.
        error = np.abs(found[name] - expected) / (steps[name] * factors[name])
        assert error.mean() < 1.0, f"{name}: mean error {error.mean():.2f} steps"
        largest = 2.5 if name == "class_logits" else 4.01
        assert error.max() < largest, f"{name}: largest error {error.max():.1f} steps"


def _sensitivity(detector: Detector, scaled: np.ndarray) -> float:
    """By how much one step in the last convolution's output can move a box encoding.

    1 where that convolution predicts it. An expectation moves by the mean absolute
    deviation of its distribution when every logit moves by 1 to the worse side.
    """
    outputs = detector.core.predict(scaled, verbose=0)
    if "box_logits" not in outputs:
        return 1.0
    probability, values = _distributions(outputs["box_logits"])
    distance = np.abs(values - outputs["box_encodings"][..., None])
    return float((probability * distance).sum(axis=-1).max())


def _distributions(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the bins and the box encodings they stand for."""
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(axis=-1, keepdims=True), np.linspace(-8, 8, logits.shape[-1])


def grids(outputs: Mapping[str, Any]) -> dict[int, str]:
    """Returns the pyramid's taps by the side of their grid: how levels of two networks are paired."""
    return {int(outputs[tap].shape[1]): tap for tap in TAPS[3:]}


def _one_by_one(model, scaled: np.ndarray) -> dict[str, np.ndarray]:
    outputs = [model(tf.constant(image[None]), training=False) for image in scaled]
    return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}


def _check_equal(found: Mapping, expected: Mapping, tolerance: float) -> None:
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)
