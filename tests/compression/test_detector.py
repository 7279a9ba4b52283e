"""A compressed student is a detector: it learns, is saved and loaded, and goes back."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mkd_tf
from mkd_tf.compression import CompressedDetector
from mkd_tf.compression.twin import learning
from tests import harness
from tests.conversion import made


@pytest.fixture(scope="module")
def student():
    return harness.shake(harness.build("tiny(size='student')"))


@pytest.fixture(scope="module")
def quantized(student):
    found = CompressedDetector(student)
    found.prepare(harness.random_images(8))
    return found


def test_its_variables_are_the_twins(quantized):
    twins = quantized.twin.variables
    assert len(quantized.variables) == len(twins)
    shared = {id(v.value) for v in quantized.variables}
    assert shared == {id(v) for v in twins}
    assert len(quantized.trainable_variables) == len(learning(quantized.twin)) > 20


def test_it_keeps_the_contract(quantized, student):
    harness.check_outputs(quantized, 3)
    assert quantized.class_names == student.class_names
    assert quantized.is_quantized
    assert quantized.shipped() is quantized
    # Whole pixel values are integers' values: 128 is 0.
    np.testing.assert_allclose(quantized.scaling, (1 / 127.5, -128 / 127.5))


def test_it_emulates_the_student(quantized, student):
    images = harness.random_images(8)
    expected, found = (m.predict(images, verbose=0) for m in (student, quantized))
    for name in ("class_logits", "box_encodings"):
        error, spread = np.abs(found[name] - expected[name]), expected[name].std()
        assert 0 < error.mean() < spread / 10, name


def test_a_file_says_all_there_is_to_say(quantized, tmp_path):
    mkd_tf.save_detector(quantized, tmp_path / "quantized.keras")
    loaded = mkd_tf.load_detector(tmp_path / "quantized.keras")
    images = harness.random_images(4)
    for name, expected in quantized.predict(images, verbose=0).items():
        np.testing.assert_allclose(loaded.predict(images, verbose=0)[name], expected, atol=1e-6)


def distiller(student, teacher):
    strategies = [mkd_tf.SoftClasses(), mkd_tf.SoftBoxes(), mkd_tf.LayerRelation(), mkd_tf.AttentionMap()]
    strategies += [mkd_tf.Hint(source="teacher"), mkd_tf.Exploration()]
    found = mkd_tf.Distiller(student, teacher, strategies=strategies)
    found.compile(optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0))
    return found


def test_it_learns_in_the_distiller_with_every_term(student):
    quantized, teacher = CompressedDetector(student), harness.build("tiny(size='guide')", seed=1)
    quantized.prepare(harness.random_images(8))
    before = [v.numpy() for v in quantized.trainable_variables]
    count = len(student.anchors)
    target = {
        "labels": np.full((4, count), 3),
        "boxes": np.zeros((4, count, 4), "float32"),
        "weights": np.zeros((4, count), "float32"),
        "known": np.ones(4, "float32"),
    }
    target["labels"][:, 5], target["boxes"][:, 5], target["weights"][:, 5] = 1, (8, 8, 40, 40), 1
    batch = {"images": harness.random_images(4), "targets": {"student": target}}
    data = tf.data.Dataset.from_tensors(batch).repeat(6)
    totals = [log["total"] for log in histories(distiller(quantized, teacher), data)]
    assert np.isfinite(totals).all()
    assert totals[-1] < totals[0]
    moved = [np.abs(v.numpy() - b).max() for v, b in zip(quantized.trainable_variables, before, strict=True)]
    assert min(moved) > 0, "a variable that does not learn"


def histories(trained, data):
    """Logs of two epochs."""
    found = trained.fit(data, epochs=2, verbose=0, shuffle=False).history
    return [{k: v[i] for k, v in found.items()} for i in range(2)]


def test_the_way_back_is_the_student_with_what_it_learned(quantized):
    plain = quantized.plain()
    assert type(plain).__name__ == "Tiny"
    kernel = plain.core.get_layer("stem_conv").kernel
    twin = next(v for v in quantized.trainable_variables if "stem_conv_kernel" in v.name)
    np.testing.assert_array_equal(kernel.numpy(), twin.numpy())


def test_the_float_form_computes_the_same():
    student = made.detector()
    goes_on = CompressedDetector(student, "float")
    images = harness.random_images(4)
    assert not goes_on.is_quantized
    for name, expected in student.predict(images, verbose=0).items():
        np.testing.assert_allclose(goes_on.predict(images, verbose=0)[name], expected, atol=1e-5)
        np.testing.assert_allclose(goes_on.shipped().predict(images, verbose=0)[name], expected, atol=1e-5)
