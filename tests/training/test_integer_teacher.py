"""A teacher that answers from its int8 file: what it says, when it may, and that a step is as before."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.config import from_values
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import STRATEGIES, SoftBoxes, SoftClasses
from mkd_tf.training.integer_teacher import beyond_predictions, check_precision, integer_teacher
from mkd_tf.training.plan import Stage
from tests import harness
from tests.distillation.test_pairs import batch

STAGE = Stage("student", "tiny", 1, "soft_classes, soft_boxes(weight=2.0)", ("teacher",))


@pytest.fixture(scope="module")
def teacher():
    return harness.shake(harness.build("tiny(size='fast', bins=8)", seed=1))


def drawn(first):
    images = harness.random_images(32, seed=first)
    return tf.data.Dataset.from_tensor_slices({"images": images}).batch(16)


@pytest.fixture(scope="module")
def made(teacher):
    said = []
    found = integer_teacher(STAGE, teacher, drawn, from_values({}), said.append)
    assert said[0].startswith("student: the teacher answers from its int8 file, 0.")
    return found


def test_it_says_what_the_network_says_within_the_steps_of_its_integers(teacher, made):
    images = harness.random_images(5, seed=7)
    expected = teacher(images, training=False)
    found = tf.function(made)(tf.constant(images))
    assert set(found) == {"class_logits", "box_encodings"} and not made.supports_jit
    for name, value in found.items():
        assert value.shape == expected[name].shape
        error, spread = np.abs(value - expected[name]), np.std(expected[name])
        assert error.mean() < spread / 10 and error.max() > 0, name


def test_images_keep_their_order_whoever_takes_them(made):
    images = harness.random_images(7, seed=3)
    whole = made(tf.constant(images))
    for i, image in enumerate(images):
        for name, value in made(tf.constant(image[None])).items():
            np.testing.assert_array_equal(value[0], whole[name][i])


def test_the_same_images_make_the_same_file(teacher, made):
    again = integer_teacher(STAGE, teacher, drawn, from_values({}), lambda line: None)
    images = tf.constant(harness.random_images(2, seed=9))
    np.testing.assert_array_equal(made(images)["class_logits"], again(images)["class_logits"])


def test_a_step_learns_from_it_as_from_the_network(teacher, made):
    totals = {}
    for name, source in (("float32", teacher), ("int8", made)):
        student = harness.shake(harness.build("tiny(bins=8)", seed=2), seed=3)
        distiller = Distiller(student, source, strategies=[SoftClasses(), SoftBoxes(weight=2.0)])
        distiller.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
        totals[name] = distiller.fit(tf.data.Dataset.from_tensors(batch()), verbose=0).history
    for term in ("soft_classes", "soft_boxes", "total"):
        np.testing.assert_allclose(totals["int8"][term], totals["float32"][term], rtol=0.1)
    np.testing.assert_allclose(totals["int8"]["box"], totals["float32"]["box"], rtol=0.01)


def test_features_are_read_from_the_network(teacher):
    said = []
    stage = Stage("student", "tiny", 1, "soft_classes, hint(weight=0.1)", ("teacher",))
    assert integer_teacher(stage, teacher, drawn, from_values({}), said.append) is teacher
    assert said == ["student: the teacher computes in float32, since hint reads more than its predictions"]


def test_what_reads_more_than_predictions():
    assert beyond_predictions("soft_classes, soft_boxes(weight=2.0)") == []
    assert beyond_predictions("hint(source='guide')", "cross_head(weight=0.5)") == ["cross_head"]
    others = set(STRATEGIES.entries) - {"soft_classes", "soft_boxes"}
    assert set(beyond_predictions(", ".join(others))) == others


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"distribution": "mirrored"}, "got --distribution=mirrored"),
        ({"jit_compile": "true"}, "got --jit_compile=true"),
        ({"teacher_views": "flip"}, "got --teacher_views=flip"),
        ({"teacher_weights": "a.keras, b.keras"}, "got several teachers"),
        ({"teacher": "onnx(path='x.onnx')"}, "which has no network"),
    ],
)
def test_clashes_are_refused_before_anything_trains(values, told):
    config = from_values({"teacher_precision": "int8"} | values)
    with pytest.raises(MkdError, match="teacher_precision int8: expected one network") as caught:
        check_precision(config)
    assert told in str(caught.value)
    check_precision(from_values(values))


def test_what_cannot_be_converted_is_told(teacher, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("no\nkernel")

    monkeypatch.setattr("mkd_tf.training.integer_teacher.to_tflite", broken)
    with pytest.raises(MkdError, match=r"got tiny \(no kernel\). Use --teacher_precision=float32."):
        integer_teacher(STAGE, teacher, drawn, from_values({}), lambda line: None)
