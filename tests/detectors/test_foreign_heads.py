"""Adapted models with heads of other libraries: what they compute, teach, learn, save and export."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.onnx.convert import to_onnx
from mkd_tf.conversion.onnx.heads import onnx_heads
from mkd_tf.conversion.tflite.heads import tflite_heads
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.box_coders import BOX_CODERS
from mkd_tf.detection.postprocess import batch_detections
from mkd_tf.detectors import adapt
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.detectors.foreign_heads import sigmoid_logits

SIDE, NAMES = 32, ("cat", "dog")
GRID = grid_anchors(SIDE, (4, 8))
CODERS = {"torchvision": 4, "yolo(bins=4)": 16, "fcos": 4}


def user_model(columns=3, box_columns=4, seed=0):
    """One anchor per cell at strides 4 and 8; background, cat and dog."""
    keras.utils.set_random_seed(seed)
    x = images = keras.Input((SIDE, SIDE, 3))
    parts = {"class_logits": [], "box_encodings": []}
    for stride in (2, 4, 8):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, "same", name=f"C{stride}")(x)))
        if stride > 2:
            for name, width in (("class_logits", columns), ("box_encodings", box_columns)):
                head = layers.Conv2D(width, 1, bias_initializer="uniform")(x)
                parts[name].append(layers.Reshape((-1, width))(head))
    return keras.Model(images, {name: layers.Concatenate(1)(part) for name, part in parts.items()})


def adapted(model=None, box_coder="torchvision", **options):
    softmax = {"activation": "softmax", "background": "first", "class_names": NAMES}
    scaling = {"anchors": GRID, "scale": 1 / 127.5, "offset": -1.0}
    model = model or user_model(box_columns=CODERS.get(box_coder, 4))
    return adapt(model, **(softmax | scaling | options), box_coder=box_coder)


def images(count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32")


def softmax_by_numpy(logits):
    z = np.asarray(logits, "float64")
    shares = np.exp(z - z.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def test_logits_of_a_softmax_worked_by_hand():
    logits = np.log(np.float32([[[0.5, 0.3, 0.2]]]))
    np.testing.assert_allclose(sigmoid_logits(logits), np.log([[[1, 3 / 7, 1 / 4]]]), atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e3, 1e6])
def test_the_sigmoid_of_the_logits_is_the_softmax(size):
    logits = (size * np.random.default_rng(0).normal(size=(2, 50, 4))).astype("float32")
    found = np.asarray(sigmoid_logits(logits), "float64")
    # The definition, slowly: z_c - log of the sum of the others.
    z = logits.astype("float64")
    others = [np.logaddexp.reduce(np.delete(z, c, axis=-1), axis=-1) for c in range(4)]
    np.testing.assert_allclose(found, z - np.stack(others, -1), rtol=1e-5, atol=1e-5)
    scores = 1 / (1 + np.exp(-np.clip(found, -700, 700)))
    np.testing.assert_allclose(scores, softmax_by_numpy(logits), atol=1e-6)


def test_two_sure_columns_are_told_apart_from_one():
    found = np.asarray(sigmoid_logits(np.float32([[[40.0, 40.0, -9.0]], [[90.0, 0.0, -9.0]]])))
    np.testing.assert_allclose(found[0, 0], [0, 0, -49 - np.log(2)], atol=1e-4)
    np.testing.assert_allclose(found[1, 0], [90, -90, -99], atol=1e-3)


@pytest.mark.parametrize("size", [0.0, 1.0, 50.0, 1e4])
def test_the_gradient_is_that_of_the_softmax(size):
    rng = np.random.default_rng(1)
    logits = tf.constant((size * rng.normal(size=(1, 40, 3))).astype("float32"))
    weights = tf.constant(rng.normal(size=(1, 40, 3)).astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = tf.reduce_sum(weights * tf.sigmoid(sigmoid_logits(logits)))
        plain = tf.reduce_sum(weights * tf.nn.softmax(logits))
        raw = sigmoid_logits(logits)
    np.testing.assert_allclose(tape.gradient(ours, logits), tape.gradient(plain, logits), atol=1e-6)
    assert np.isfinite(tape.gradient(raw, logits)).all()


@pytest.mark.parametrize(("background", "kept"), [("first", [1, 2]), ("last", [0, 1]), (1, [0, 2])])
def test_classes_are_the_columns_beside_the_background(background, kept):
    model = user_model()
    detector = adapted(model, background=background)
    found, raw = detector(images()), model(images() / 127.5 - 1)
    assert detector.class_names == NAMES
    scores = 1 / (1 + np.exp(-np.asarray(found["class_logits"], "float64")))
    np.testing.assert_allclose(scores, softmax_by_numpy(raw["class_logits"])[..., kept], atol=1e-6)
    expected = BOX_CODERS.build("torchvision").encodings(raw["box_encodings"])
    np.testing.assert_allclose(found["box_encodings"], expected, atol=1e-5)
    sigmoid = adapted(model, background=background, activation="sigmoid")(images())["class_logits"]
    np.testing.assert_allclose(sigmoid, np.asarray(raw["class_logits"])[..., kept], atol=1e-5)


def test_columns_without_a_name_are_left_out():
    detector = adapted(class_names=(None, "dog"), background="last")
    assert detector.class_names == ("dog",)
    whole = adapted(class_names=("cat", "dog"), background="last")(images())["class_logits"]
    np.testing.assert_array_equal(detector(images())["class_logits"], np.asarray(whole)[..., 1:])


def test_without_anything_to_convert_the_graph_is_the_users():
    model = user_model(columns=2)
    detector = adapted(model, activation="sigmoid", background=None, box_coder="ssd")
    assert [layer.name for layer in detector.core.layers] == [layer.name for layer in model.layers]
    assert set(detector.get_config()) == {"core", "anchors", "class_names", "scale", "offset", "name"}


@pytest.mark.parametrize("box_coder", CODERS)
def test_files_hold_the_conversion(box_coder, tmp_path):
    detector = adapted(box_coder=box_coder)
    save_detector(detector, tmp_path / "own.keras")
    again, expected = load_detector(tmp_path / "own.keras"), detector(images())
    for name, value in again(images()).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)


def test_an_object_is_detected_where_the_head_says():
    """A model of constants: a dog at the second cell of stride 8, as a softmax and distances in strides."""
    model = user_model()
    for layer in model.layers:
        layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    outputs, dog = dict(model.output), np.zeros((80, 3), "float32")
    dog[:, 0], dog[65] = 9.0, [0.0, 0.0, 9.0]
    outputs["class_logits"] = layers.Lambda(lambda x: x + dog)(outputs["class_logits"])
    outputs["box_encodings"] = layers.Rescaling(1.0, offset=[1.0, 0.25, 1.5, 2.0])(outputs["box_encodings"])
    found = adapted(keras.Model(model.input, outputs), box_coder="yolo")(images(1))
    anchors = GRID.centers_and_sizes() / SIDE
    (one,) = batch_detections(*(np.asarray(found[k]) for k in ("class_logits", "box_encodings")), anchors)
    best = one.above(0.5)
    assert best.labels.tolist() == [1]
    # The centre of that cell is y 4, x 12.
    np.testing.assert_allclose(best.boxes[0] * SIDE, [2, 4, 20, 24], atol=1e-3)


def test_it_learns_from_labels_and_from_a_teacher_and_teaches():
    student = adapted(user_model(box_columns=16, seed=1), box_coder="yolo(bins=4)", name="student")
    teacher = adapted(user_model(seed=2), name="teacher")
    box = np.float32([[[4, 4, 20, 20]]])
    assigned = target_math.assign(GRID, box, np.zeros((1, 1), "int32"), np.ones((1, 1), "float32"), 2)
    batch = {"images": tf.constant(images(1)), "targets": {"student": assigned | {"known": tf.ones(1)}}}
    distiller = mkd_tf.Distiller(student, teacher, strategies=[mkd_tf.SoftClasses(), mkd_tf.SoftBoxes()])
    distiller.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    before, rows = teacher.get_weights(), []
    for _ in range(4):
        distiller.reset_metrics()
        rows.append({name: float(value) for name, value in distiller.train_step(batch).items()})
    for name in ("total", "class", "box", "soft_boxes"):
        assert rows[-1][name] < rows[0][name], name
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("box_coder", CODERS)
def test_gradients_reach_every_weight_of_both_heads(box_coder):
    student = adapted(box_coder=box_coder)
    with tf.GradientTape() as tape:
        found = student(images(1), training=True)
        loss = tf.reduce_sum(found["class_logits"] ** 2) + tf.reduce_sum(found["box_encodings"] ** 2)
    for variable, gradient in zip(
        student.trainable_variables, tape.gradient(loss, student.trainable_variables), strict=True
    ):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path


def test_exported_files_compute_the_same():
    detector = adapted(box_coder="yolo(bins=4)")
    pixels = images(1).astype("uint8")
    wanted = detector.predict(pixels.astype("float32"), verbose=0)
    scores = 1 / (1 + np.exp(-wanted["class_logits"]))
    for quantization, worst_box, worst_score in (
        ("float32", 1e-4, 1e-5),
        ("int8", 0.3, 0.03),
        ("onnx", 1e-4, 1e-5),
    ):
        if quantization == "onnx":
            found = onnx_heads(to_onnx(detector, postprocess="raw"), pixels)
        else:
            found = tflite_heads(to_tflite(detector, quantization, pixels, "raw"), pixels)
        np.testing.assert_allclose(found["box_encodings"], wanted["box_encodings"], atol=worst_box)
        np.testing.assert_allclose(found["scores"], scores, atol=worst_score)


def test_compression_refuses_the_layer_by_name():
    with pytest.raises(MkdError, match="layer to_class_logits: expected a layer of Keras.* got ClassLogits"):
        mkd_tf.CompressedDetector(adapted(), method="qat")


def test_the_code_of_the_docs_runs(tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs" / "foreign_heads.md").read_text(encoding="utf-8")
    assert all(spec in text for spec in BOX_CODERS)
    block, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "foreign_heads.md", "exec"), {})  # noqa: S102 (our own file)
    assert load_detector("teacher.keras").class_names == ("cat", "dog")
