"""The cache of what sources say: what it keeps, when it computes, and that nothing stale is read."""

import functools
import os
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.config import from_values
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import STRATEGIES, AttentionMap, Hint, SoftBoxes, SoftClasses
from mkd_tf.training.source_cache import SourceCache, check_cache, what_terms_read
from tests.distillation.test_pairs import batch, student_of, teacher_of

SHAPES = {"teacher": {"a": (3,), "b": (2, 2)}, "guide": {"a": (1,)}}
INDICES = np.array([4, 7, 9])


def compute(images):
    """Outputs that tell the image, and which output each is."""
    first = tf.reshape(images, (images.shape[0], -1))[:, :1]
    return {
        role: {
            name: tf.reshape(tf.repeat(first, int(np.prod(shape)), axis=1), (-1, *shape))
            + len(role)
            + (name == "b")
            for name, shape in shapes.items()
        }
        for role, shapes in SHAPES.items()
    }


def cache_at(path, key="key", slots=2, with_compute=compute):
    return SourceCache(path, key, INDICES, slots, SHAPES, with_compute)


def test_rows_of_other_images_are_not_read(tmp_path):
    answered(cache_at(tmp_path / "c"), [1], [[4, 0, 0]])
    others = SourceCache(tmp_path / "c", "key", INDICES + 3, 2, SHAPES, compute)
    assert first_numbers(answered(others, [2], [[7, 0, 0]])) == [2]


def answered(cache, images, views):
    """One batch through the cache: images by their first number, views (index, slot, generation)."""
    pixels = np.zeros((len(images), 2, 2, 3), "float32")
    pixels[:, 0, 0, 0] = images
    data = tf.data.Dataset.from_tensors({"images": pixels, "views": np.array(views, "int64"), "x": [1]})
    (found,) = cache.answered(data).as_numpy_iterator()
    assert set(found) == {"images", "x", "answers"}
    return found["answers"]


def first_numbers(answers):
    return (answers["teacher"]["a"][:, 0] - len("teacher")).tolist()


def test_outputs_come_back_by_role_name_and_shape(tmp_path):
    cache = cache_at(tmp_path / "c")
    views = [[4, 0, 0], [9, 1, 0]]
    for _ in range(2):
        found = answered(cache, [5, 6], views)
        np.testing.assert_array_equal(found["teacher"]["a"], [[12.0] * 3, [13.0] * 3])
        np.testing.assert_array_equal(found["teacher"]["b"], [[[13.0] * 2] * 2, [[14.0] * 2] * 2])
        np.testing.assert_array_equal(found["guide"]["a"], [[10.0], [11.0]])
    assert cache.computed == 1
    assert cache.bytes == (tmp_path / "c").stat().st_size == 22 + 32 + 3 * 2 * (16 + 2 * 8)


def test_one_that_is_missing_makes_the_batch_compute_and_the_others_stay(tmp_path):
    cache = cache_at(tmp_path / "c")
    answered(cache, [1], [[4, 0, 0]])
    # Of image 4 what was kept is read, though the images of this batch say another thing.
    assert first_numbers(answered(cache, [2, 3], [[4, 0, 0], [7, 0, 0]])) == [1, 3]
    assert first_numbers(answered(cache, [8, 9], [[4, 0, 0], [7, 0, 0]])) == [1, 3]
    assert cache.computed == 2


def test_another_generation_takes_the_slot(tmp_path):
    cache = cache_at(tmp_path / "c")
    assert first_numbers(answered(cache, [1], [[4, 0, 0]])) == [1]
    assert first_numbers(answered(cache, [2], [[4, 0, 1]])) == [2]
    assert first_numbers(answered(cache, [3], [[4, 0, 1]])) == [2]
    assert first_numbers(answered(cache, [4], [[4, 0, 0]])) == [4], "the one before is gone"
    assert first_numbers(answered(cache, [5], [[4, 1, 0]])) == [5], "another slot is another place"


def test_one_that_goes_on_reads_what_was_written(tmp_path):
    answered(cache_at(tmp_path / "c"), [1], [[4, 0, 0]])
    again = cache_at(tmp_path / "c")
    assert first_numbers(answered(again, [2], [[4, 0, 0]])) == [1] and again.computed == 0


@pytest.mark.parametrize("change", [{"key": "other"}, {"slots": 3}])
def test_what_depends_on_anything_else_is_not_read(tmp_path, change):
    answered(cache_at(tmp_path / "c"), [1], [[4, 0, 0]])
    assert first_numbers(answered(cache_at(tmp_path / "c", **change), [2], [[4, 0, 0]])) == [2]
    assert first_numbers(answered(cache_at(tmp_path / "c"), [3], [[4, 0, 0]])) == [3], "nor is it kept"


@pytest.mark.parametrize("damage", ["cut", "flip", "generation", "head"])
def test_what_is_torn_is_not_there(tmp_path, damage):
    path = tmp_path / "c"
    answered(cache_at(path), [1, 5], [[4, 0, 0], [9, 1, 0]])
    content = bytearray(path.read_bytes())
    at = {"flip": 54 + 16, "generation": 54, "head": 5}
    if damage == "cut":
        del content[60:]
    else:
        content[at[damage]] ^= 1
    path.write_bytes(content)
    assert first_numbers(answered(cache_at(path), [2], [[4, 0, 0]])) == [2]
    assert first_numbers(answered(cache_at(path), [3], [[4, 0, 0]])) == [2]


def test_a_record_says_its_generation_and_its_checksum(tmp_path):
    """By hand: generation 3 of image 4 in slot 0, outputs 10 for the guide and so on."""
    answered(cache_at(tmp_path / "c"), [1], [[4, 0, 3]])
    record = (tmp_path / "c").read_bytes()[54 : 54 + 32]
    assert int.from_bytes(record[:8], "little") == 4
    assert int.from_bytes(record[8:12], "little") == zlib.crc32(record[16:])
    assert np.frombuffer(record[16:], "float16").tolist() == [6.0, 8.0, 8.0, 8.0, 9.0, 9.0, 9.0, 9.0]


def test_a_full_disk_ends_the_keeping_alone(tmp_path, monkeypatch, caplog):
    cache = cache_at(tmp_path / "c")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert first_numbers(answered(cache, [1], [[4, 0, 0]])) == [1]
    assert first_numbers(answered(cache, [2], [[4, 0, 0]])) == [2]
    assert caplog.text.count("the disk of kept answers is full (No space left on device)") == 1


def test_numbers_beyond_float16_are_its_largest(tmp_path):
    large = functools.partial(cache_at, with_compute=lambda images: compute(images * 1e6))
    assert answered(large(tmp_path / "c"), [1], [[4, 0, 0]])["teacher"]["a"].max() == 65504


def distiller(strategies):
    teacher, (student, weights) = teacher_of("tiny"), student_of("tiny")
    student.set_weights(weights)
    keras.utils.set_random_seed(0)
    made = Distiller(student, teacher, strategies=strategies)
    made.compile(optimizer=keras.optimizers.SGD(1e-2), run_eagerly=True)
    return made


SPECS = tf.data.Dataset.from_tensors(batch()).element_spec


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        ([SoftClasses(), SoftBoxes(weight=2.0)], {"teacher": ["box_encodings", "class_logits"]}),
        ([SoftClasses()], {"teacher": ["class_logits"]}),
        ([SoftClasses(weight=0.0)], {}),
        ([AttentionMap()], {"teacher": ["C3", "C4", "C5"]}),
        ([Hint(source="teacher")], {"teacher": ["P3", "P4", "P5"]}),
    ],
)
def test_what_strategies_read_is_found(strategies, expected):
    assert what_terms_read(distiller(strategies), SPECS) == expected


def test_a_step_from_kept_answers_is_that_of_the_network():
    """All strategies, with float16 between: terms within its rounding."""
    rows, data = [], batch()
    for is_kept in (False, True):
        made = distiller([STRATEGIES.build(f"{name}(source='teacher')") for name in STRATEGIES])
        if is_kept:
            read = what_terms_read(made, SPECS)["teacher"]
            outputs = made.teacher(data["images"], training=False)
            data = data | {"answers": {"teacher": {n: tf.cast(outputs[n], tf.float16) for n in read}}}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(made.teacher, "call", None)  # It is not asked again.
                rows.append({k: float(v) for k, v in made.train_step(data).items()})
        else:
            rows.append({k: float(v) for k, v in made.train_step(data).items()})
    for term in (*STRATEGIES, "total"):
        assert rows[1][term] == pytest.approx(rows[0][term], rel=5e-3), term


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"distribution": "mirrored"}, "got --distribution=mirrored"),
        ({"mosaic": 0.5}, "got --mosaic"),
        ({"mixup": 0.5}, "got --mixup"),
    ],
)
def test_clashes_are_refused_before_anything_trains(values, told):
    with pytest.raises(MkdError, match="teacher_cache 2: expected images that come back") as caught:
        check_cache(from_values({"teacher_cache": 2} | values))
    assert told in str(caught.value)
    check_cache(from_values(values))
