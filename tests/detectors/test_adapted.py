"""The adapter: a user's own model as a detector, and what is told when it cannot be one."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mkd_tf.checks import MkdError
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.detectors import AdaptedDetector, adapt
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.outputs import port_of
from mkd_tf.strategies import AttentionMap, LayerRelation, SoftBoxes, SoftClasses
from mkd_tf.strategies.matching import match_anchors

ROOT = Path(__file__).resolve().parents[2]
SIDE, CLASSES = 32, ("cat", "dog", "cow")
_LOAD = """
import sys
import mkd_tf, keras, numpy as np
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
np.savez(sys.argv[3], **model.predict(np.load(sys.argv[2]), verbose=0))
"""


def user_model(width=4, per_cell=2, side=SIDE, activation=None):
    """Two anchors per cell of two levels, with layers named as a user would."""
    images = keras.Input((side, side, 3), name="photo")
    x, logits, boxes, classes = images, [], [], len(CLASSES)
    for stride in (2, 4, 8):
        x = layers.Conv2D(width * stride, 3, 2, "same", name=f"down{stride}")(x)
        x = layers.ReLU(name=f"stage{stride}")(layers.BatchNormalization()(x))
        if stride > 2:
            scores = layers.Conv2D(per_cell * classes, 1, activation=activation)(x)
            logits.append(layers.Reshape((-1, classes))(scores))
            boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(per_cell * 4, 1)(x)))
    outputs = {
        "scores": layers.Concatenate(1, name="all_scores")(logits),
        "offsets": layers.Concatenate(1, name="all_offsets")(boxes),
    }
    return keras.Model(images, outputs, name="mine")


def anchors(side=SIDE):
    """Two per cell, a square and a tall one, at strides 4 and 8."""
    boxes, counts = [], []
    for stride in (4, 8):
        square = grid_anchors(side, (stride,), scale=3.0).boxes
        tall = square + np.float32([-stride, stride / 2, stride, -stride / 2])
        boxes.append(np.stack([square, tall], axis=1).reshape(-1, 4))
        counts.append(len(boxes[-1]))
    return Anchors.from_boxes(np.concatenate(boxes), side, counts)


NAMES = {"class_logits": "scores", "box_encodings": "offsets"}
TAPS = {"C3": "stage4", "C4": "stage8"}


def adapted(model=None, side=SIDE, **options):
    model = user_model(side=side) if model is None else model
    arguments = {"anchors": anchors(side), "class_names": CLASSES, "taps": TAPS} | NAMES | options
    return adapt(model, **arguments)


def photos(count=2, side=SIDE):
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype("float32")


def test_it_computes_what_the_model_computes():
    model = user_model()
    detector = adapted(model, scale=1 / 255, offset=-0.5)
    assert isinstance(detector, AdaptedDetector)
    assert (detector.image_size, detector.class_names, len(detector.anchors)) == (
        SIDE,
        CLASSES,
        2 * (64 + 16),
    )
    found, expected = detector(photos()), model(photos() / 255 - 0.5)
    assert set(found) == {"class_logits", "box_encodings", "C3", "C4"}
    np.testing.assert_allclose(found["class_logits"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found["box_encodings"], expected["offsets"], atol=1e-5)
    tap = keras.Model(model.input, model.get_layer("stage4").output)(photos() / 255 - 0.5)
    np.testing.assert_allclose(found["C3"], tap, atol=1e-5)


def test_without_a_scale_the_model_sees_images_as_they_are():
    model = user_model()
    expected = model(photos())["scores"]
    np.testing.assert_allclose(adapted(model)(photos())["class_logits"], expected, atol=1e-3)


def test_it_shares_the_models_layers():
    model = user_model()
    detector = adapted(model)
    assert {id(v) for v in detector.trainable_variables} == {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize("kind", ["key", "layer", "tensor"])
def test_outputs_can_be_named_in_three_ways(kind):
    model = user_model()
    refer = {
        "key": lambda key: key,
        "layer": lambda key: f"all_{key}",
        "tensor": lambda key: model.output[key],
    }[kind]
    tap = model.get_layer("stage4").output if kind == "tensor" else "stage4"
    detector = adapted(model, class_logits=refer("scores"), box_encodings=refer("offsets"), taps={"mid": tap})
    np.testing.assert_allclose(detector(photos())["class_logits"], model(photos())["scores"], atol=1e-3)
    assert detector.output["mid"].shape == (None, 8, 8, 16)


def test_a_tensor_made_after_the_model_will_do():
    model = user_model()
    doubled = layers.Rescaling(2.0)(model.output["scores"])
    found = adapted(model, class_logits=doubled)(photos())["class_logits"]
    np.testing.assert_allclose(found, 2 * model(photos())["scores"], atol=1e-3)


def test_inference_drops_the_taps():
    assert set(adapted().inference().output) == {"class_logits", "box_encodings"}
    assert set(adapted().inference_core().output) == {"class_logits", "box_encodings"}


def test_a_model_within_a_model_is_adapted_by_what_it_returns():
    images = keras.Input((SIDE, SIDE, 3))
    inner_in = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, 8, "same", name="deep")(inner_in)
    inner = keras.Model(inner_in, layers.ReLU(name="end")(x), name="trunk")
    features = inner(images)
    outputs = {
        "class_logits": layers.Reshape((-1, 3))(layers.Conv2D(3, 1)(features)),
        "box_encodings": layers.Reshape((-1, 4))(layers.Conv2D(4, 1)(features)),
    }
    model = keras.Model(images, outputs)
    grid = grid_anchors(SIDE, (8,))
    for tap in ("trunk", features):
        detector = adapt(model, anchors=grid, class_names=CLASSES, taps={"C3": tap})
        assert detector(photos())["C3"].shape == (2, 4, 4, 4)
    with pytest.raises(MkdError, match="'deep' inside its nested model 'trunk'.* Let 'trunk' return it"):
        adapt(model, anchors=grid, class_names=CLASSES, taps={"C3": "deep"})
    with pytest.raises(MkdError, match="tap C3 of adapt: expected a tensor that follows from the input"):
        adapt(model, anchors=grid, class_names=CLASSES, taps={"C3": inner.get_layer("deep").output})


def test_a_file_says_it_all_to_a_process_that_only_imports_mkd_tf(tmp_path):
    detector = adapted(scale=1 / 255, offset=-0.5, name="own")
    save_detector(detector, tmp_path / "own.keras")
    np.save(tmp_path / "photos.npy", photos())
    files = [tmp_path / name for name in ("own.keras", "photos.npy", "found.npz")]
    child = subprocess.run(
        [sys.executable, "-c", _LOAD, *files],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    with np.load(files[2]) as found:
        for name, expected in detector.predict(photos(), verbose=0).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
    again = load_detector(files[0])
    assert {**again.get_config(), "core": 0} == {**detector.get_config(), "core": 0}
    assert (again.name, again.class_names, again.scaling) == ("own", CLASSES, (1 / 255, -0.5))
    assert again.anchors.level_counts == (128, 32)
    np.testing.assert_array_equal(again.anchors.boxes, detector.anchors.boxes)


def test_two_adapted_models_of_other_anchors_and_sizes_distil(tmp_path):
    keras.utils.set_random_seed(0)
    taps = {"C3": "stage8", "C4": "stage4"}
    teacher = adapted(user_model(8, side=64), side=64, taps=taps, scale=1 / 255, name="teacher")
    one = user_model(2, per_cell=1)
    grid = grid_anchors(SIDE, (4, 8), scale=3.0)
    student = adapted(one, anchors=grid, scale=1 / 255, name="student")
    strategies = [SoftClasses(), SoftBoxes(), AttentionMap(taps=("C3",))]
    distiller = Distiller(student, teacher, strategies=strategies)
    index, matched = match_anchors(teacher.anchors, student.anchors)
    # Of the two anchors in a cell the square is the student's; its grid is the teacher's of twice the stride.
    assert (index[:64] == 512 + 2 * np.arange(64)).all()
    assert matched[:64].all()
    distiller.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    boxes, labels = np.float32([[[4, 4, 20, 20]]]), np.zeros((1, 1), "int32")
    assigned = target_math.assign(student.anchors, boxes, labels, np.ones((1, 1), "float32"), len(CLASSES))
    targets = assigned | {"known": tf.ones(1)}
    batch = {"images": photos(1, 64), "targets": {"student": targets}}
    data = tf.data.Dataset.from_tensors(batch).repeat()
    history = distiller.fit(data, epochs=20, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert history["total"][-1] < 0.8 * history["total"][0]
    for name in ("soft_boxes", "attention_map"):  # The classes of an untrained teacher contradict the labels.
        assert history[name][-1] < history[name][0]
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    expected = student(photos())["class_logits"]
    np.testing.assert_allclose(again.student(photos())["class_logits"], expected, atol=1e-5)


def test_a_strategy_tells_which_taps_there_are():
    ports = {role: port_of(adapted(taps={"mid": "stage4"})) for role in ("teacher", "student")}
    with pytest.raises(MkdError, match="taps of a strategy: expected some of .*mid.*, got 'C3'"):
        LayerRelation().connect(ports)


def test_mistakes_are_told():
    model = user_model()
    for options, message in (
        (
            {"class_logits": "score"},
            "class_logits of adapt: expected the key of an output.* got 'score'.*scores",
        ),
        ({"taps": {"C3": "stage44"}}, "tap C3 of adapt: .* got 'stage44'. Near it: .*stage4"),
        (
            {"class_logits": "stage4"},
            r"class_logits of adapt: expected \[B, N, 3\], got .*Reshape\(\(-1, 3\)\)",
        ),
        ({"anchors": grid_anchors(SIDE, (4, 8))}, "class_logits of adapt: expected N = 80 rows.* got 160"),
        ({"anchors": grid_anchors(64, (8,))}, "anchors of adapt: expected anchors for images of 32 px"),
        ({"class_names": ("a",)}, r"class_logits of adapt: expected shape \[None, 160, 1\]"),
        ({"taps": {"C3": "scores"}}, r"tap C3 of adapt: expected a map \[B, h, w, c\]"),
        (
            {"taps": {"class_logits": "stage4"}},
            "taps of adapt: expected names of their own, got class_logits",
        ),
        (
            {"taps": {"C3": user_model().get_layer("stage4").output}},
            "tap C3 of adapt: .*one of another model",
        ),
        ({"class_logits": "zzzzzzzz"}, "class_logits of adapt: .* There are scores, offsets, photo"),
        ({"scale": 0.0}, "scale of adapt: expected a number above 0"),
    ):
        with pytest.raises(MkdError, match=message):
            adapted(model, **options)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_are_no_logits(activation):
    with pytest.raises(
        MkdError, match=f"class_logits of adapt: expected logits.*which ends in a {activation}"
    ):
        adapted(user_model(activation=activation))


def test_a_model_of_dynamic_size_is_told():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, layers.Conv2D(3, 1)(images))
    with pytest.raises(MkdError, match=r"input of model .*static size, got \[None, None, None, 3\]. Build"):
        adapt(model, anchors=anchors(), class_names=CLASSES)


def test_a_layer_called_twice_is_told():
    images = keras.Input((SIDE, SIDE, 3))
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    model = keras.Model(images, layers.Reshape((-1, 3))(twice(twice(images))))
    with pytest.raises(MkdError, match="'twice', which gives 2 tensors. Give the KerasTensor itself"):
        adapt(model, anchors=anchors(), class_names=CLASSES, class_logits="twice")


def test_a_model_without_a_graph_is_told():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(MkdError, match="model of adapt: expected a functional Keras model, got Subclassed"):
        adapt(Subclassed(), anchors=anchors(), class_names=CLASSES)


def test_plain_arrays_are_anchors_of_one_level():
    detector = adapted(anchors=anchors().boxes)
    assert detector.anchors.level_counts == (160,)
    assert detector.anchors.image_size == SIDE
