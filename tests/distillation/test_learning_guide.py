"""A guide that learns in the student's steps: its own task, its own teacher terms, no other gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import STRATEGIES, SoftBoxes, SoftClasses
from tests.distillation.test_distiller import assert_identical, batch, detector, endless, snapshot


def learning_guide(**options):
    strategies = [
        SoftClasses(),
        SoftBoxes(weight=2.0),
        SoftClasses(target="guide", name="guide_soft_classes"),
        STRATEGIES.build("hint"),
    ]
    made = Distiller(detector(), detector(64, 1), detector(64, 2), strategies, learn_guide=True, **options)
    made.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    return made


def both(image_size=64):
    data = batch(image_size)
    return data | {"targets": dict.fromkeys(("student", "guide"), data["targets"]["student"])}


def test_a_learning_guide_learns_its_own_task_from_its_own_teacher_terms():
    made = learning_guide()
    before = snapshot(made.teacher), snapshot(made.guide)
    history = made.fit(endless(both()), epochs=20, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert_identical(before[0], snapshot(made.teacher))
    for old, variable in zip(before[1], made.guide.variables, strict=True):
        assert not np.array_equal(old, variable), f"{variable.path} never moved"
    # Its teacher knows nothing here, and its class target is the quality of its boxes, which rises.
    assert history["guide_box"][-1] < history["guide_box"][0]
    weighted = ["class", "box", "guide_class", "guide_box", *(s.name for s in made.strategies)]
    np.testing.assert_allclose(history["total"], np.sum([history[n] for n in weighted], axis=0), rtol=1e-5)


def test_no_gradient_of_the_students_terms_reaches_a_learning_guide():
    made = learning_guide()
    data = tf.nest.map_structure(tf.constant, both())
    with tf.GradientTape() as tape:
        outputs = {role: getattr(made, role)(data["images"]) for role in ("student", "guide", "teacher")}
        terms = made.objective.terms(outputs, data["targets"])
        students = sum(
            tf.reduce_sum(terms[n]) for n in ("class", "box", "soft_classes", "soft_boxes", "hint")
        )
    assert all(g is None for g in tape.gradient(students, made.guide.trainable_variables))


def test_each_network_runs_once_with_a_learning_guide_too():
    made = learning_guide()
    made.run_eagerly = True
    calls = []
    for role in ("student", "teacher", "guide"):
        network = getattr(made, role)

        def counted(*args, role=role, run=network.call, **kwargs):
            calls.append((role, kwargs["training"]))
            return run(*args, **kwargs)

        network.call = counted
    made.fit(endless(both()), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    assert sorted(calls) == [("guide", True), ("student", True), ("teacher", False)]
    calls.clear()
    before = snapshot(made.student, made.guide)
    made.evaluate(endless(both()), steps=1, verbose=0)
    assert sorted(calls) == [("guide", False), ("student", False), ("teacher", False)]
    assert_identical(before, snapshot(made.student, made.guide))


def test_a_learning_guide_is_kept_in_a_file(tmp_path):
    made = learning_guide(steps=9)
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    assert again.learn_guide
    assert len(again.trainable_variables) == len(made.trainable_variables)


def test_a_strategy_for_a_network_that_does_not_learn_is_told():
    message = "strategy soft_classes: expected a target that learns: student, got 'guide'"
    with pytest.raises(MkdError, match=message):
        Distiller(detector(), detector(64, 1), detector(64, 2), [SoftClasses(target="guide")])
