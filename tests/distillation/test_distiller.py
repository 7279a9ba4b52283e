"""The distiller: who runs, who learns, who stays as they were, and what a file keeps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detectors import DETECTORS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.outputs import resized
from mkd_tf.distillation.task import DetectionTask
from mkd_tf.strategies import STRATEGIES, SoftClasses
from tests.strategies import fakes

SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8, tower=0, block='plain')"
STEPS = 30
STRATEGY_SPECS = (
    "soft_classes",
    "soft_boxes(weight=2.0, fall=0.5)",
    "layer_relation",
    "attention_map",
    "hint",
)


def detector(image_size=64, seed=0, num_classes=3):
    keras.utils.set_random_seed(seed)
    names = [f"class{i}" for i in range(num_classes)]
    made = DETECTORS.build(SPEC, image_size=image_size, class_names=names, name=f"tiny{seed}")
    # Batch statistics as after training: those of a new network would hide an update.
    for layer in made.core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.random.default_rng(seed).normal(0, 0.2, layer.moving_mean.shape))
    return made


def distiller(teacher_size=128, specs=STRATEGY_SPECS, **options):
    keras.utils.set_random_seed(3)
    strategies = [STRATEGIES.build(spec) for spec in specs]
    made = Distiller(detector(), detector(teacher_size, 1), detector(64, 2), strategies, **options)
    made.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    return made


def batch(image_size=128, count=2):
    images = np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    images = images.repeat(image_size // 8, axis=1).repeat(image_size // 8, axis=2)
    return {"images": images, "targets": {"student": fakes.targets(fakes.port(), count)}}


def endless(data):
    return tf.data.Dataset.from_tensors(data).repeat()


def snapshot(*networks):
    return [np.array(v) for network in networks for v in network.variables]


def assert_identical(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def trained():
    """A distiller after 30 steps on one batch, its fixed networks before, and its history."""
    made = distiller(steps=2 * STEPS, beta=2.0, box_weight=1.5)
    before = snapshot(made.teacher, made.guide), [np.array(v) for v in made.trainable_variables]
    history = made.fit(endless(batch()), epochs=STEPS, steps_per_epoch=1, shuffle=False, verbose=0).history
    return made, before, history


def test_the_student_learns(trained):
    _, _, history = trained
    assert history["total"][-1] < 0.7 * history["total"][0]
    # Not every term: its teacher and the labels contradict each other here.
    assert history["box"][-1] < history["box"][0]


def test_teacher_and_guide_are_bit_identical(trained):
    made, (before, _), _ = trained
    assert_identical(before, snapshot(made.teacher, made.guide))


def test_everything_that_learns_learned(trained):
    made, (_, before), _ = trained
    learning = made.trainable_variables
    assert len(learning) == len(made.student.trainable_variables) + sum(
        len(s.trainable_variables) for s in made.strategies
    )
    assert sum(len(s.trainable_variables) for s in made.strategies) == 3 + 3
    for old, variable in zip(before, learning, strict=True):
        assert not np.array_equal(old, variable), f"{variable.path} never moved"


def test_the_logs_are_the_terms_and_their_sum(trained):
    _, _, history = trained
    names = ["class", "box", "soft_classes", "soft_boxes", "layer_relation", "attention_map", "hint"]
    details = [f"{kind}_{name}" for name in names[2:] for kind in ("raw", "weight", "share")]
    assert set(history) == {"loss", "total", *names, *details}
    for name in names[2:]:
        weighted = np.multiply(history[f"raw_{name}"], history[f"weight_{name}"])
        np.testing.assert_allclose(history[name], weighted, rtol=1e-5)
        assert (np.array(history[f"share_{name}"]) > 0).all(), name
    np.testing.assert_allclose(history["total"], np.sum([history[n] for n in names], axis=0), rtol=1e-5)


def test_evaluate_changes_no_variable_of_a_network(trained):
    made, _, _ = trained
    everything = [made.student, made.teacher, made.guide, *made.strategies]
    before, steps = snapshot(*everything), int(made.optimizer.iterations)
    found = made.evaluate(endless(batch()), steps=2, verbose=0, return_dict=True)
    assert_identical(before, snapshot(*everything))
    assert int(made.optimizer.iterations) == steps
    terms = [value for name, value in found.items() if name not in ("loss", "total")]
    assert found["loss"] == found["total"]
    assert found["total"] == pytest.approx(sum(terms), rel=1e-5)


def test_the_total_does_not_change_with_the_batch(trained):
    made, _, _ = trained
    one, two = batch(), batch()
    halves = [tf.nest.map_structure(lambda x, i=i: x[i : i + 1], one) for i in range(2)]
    whole = made.evaluate(endless(two), steps=1, verbose=0, return_dict=True)
    parts = [made.evaluate(endless(half), steps=1, verbose=0, return_dict=True) for half in halves]
    for name in whole:
        assert whole[name] == pytest.approx((parts[0][name] + parts[1][name]) / 2, rel=1e-4), name


def test_a_file_keeps_all_and_training_goes_on(trained, tmp_path):
    made, _, _ = trained
    expected = made.evaluate(endless(batch()), steps=1, verbose=0, return_dict=True)
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    again.run_eagerly = True
    assert again.get_config() == made.get_config()
    assert (again.balance.steps, again.objective.task) == (2 * STEPS, DetectionTask(2.0, 1.5))
    assert_identical(snapshot(made.student, made.teacher), snapshot(again.student, again.teacher))
    found = again.evaluate(endless(batch()), steps=1, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert int(again.optimizer.iterations) == STEPS
    for a, b in zip(made.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    again.fit(endless(batch()), epochs=1, steps_per_epoch=2, shuffle=False, verbose=0)
    assert int(again.optimizer.iterations) == STEPS + 2
    assert again.evaluate(endless(batch()), steps=1, verbose=0, return_dict=True)["total"] != found["total"]


def test_each_network_runs_once_per_step_and_in_its_mode():
    made = distiller()
    made.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    calls = []
    for role in ("student", "teacher", "guide"):
        network = getattr(made, role)

        def counted(*args, role=role, run=network.call, **kwargs):
            calls.append((role, args[0].shape[1], kwargs["training"]))
            return run(*args, **kwargs)

        network.call = counted
    made.fit(endless(batch()), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    assert sorted(calls) == [("guide", 64, False), ("student", 64, True), ("teacher", 128, False)]
    calls.clear()
    made.evaluate(endless(batch()), steps=1, verbose=0)
    assert sorted(calls) == [("guide", 64, False), ("student", 64, False), ("teacher", 128, False)]


@pytest.mark.parametrize(
    ("specs", "used"),
    [
        ((), set()),
        (("soft_classes(weight=0)", "hint"), {"guide"}),
        (("soft_classes",), {"teacher"}),
        (("soft_classes(source='best')",), {"teacher", "guide"}),
    ],
)
def test_unused_networks_are_skipped(specs, used):
    made = distiller(specs=specs)
    made.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    calls = []
    for role in ("teacher", "guide"):
        network = getattr(made, role)

        def counted(*args, role=role, run=network.call, **kwargs):
            calls.append(role)
            return run(*args, **kwargs)

        network.call = counted
    made.fit(endless(batch()), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    assert sorted(calls) == sorted(used)


def test_a_gradient_reaches_the_student_and_the_adapters_alone():
    made = distiller()
    made.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    applied = []
    made.optimizer.apply = lambda gradients, variables: applied.extend(zip(gradients, variables, strict=True))
    made.train_step(tf.nest.map_structure(tf.constant, batch()))
    fixed = {id(v) for network in (made.teacher, made.guide) for v in network.variables}
    assert not [v.path for _, v in applied if id(v) in fixed]
    assert not [v.path for g, v in applied if g is None]


def test_ramps_follow_the_optimizers_steps(trained):
    made, _, _ = trained
    assert float(made.progress()) == pytest.approx(0.5)
    assert float(Distiller(made.student).progress()) == 0.5


def test_without_a_teacher_it_trains_on_labels_alone():
    made = Distiller(detector())
    made.compile(optimizer=keras.optimizers.Adam(1e-3), run_eagerly=True)
    history = made.fit(endless(batch(64)), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert set(history) == {"loss", "total", "class", "box"}
    again = Distiller.from_config(made.get_config())
    assert again.teacher is None
    assert again.guide is None
    assert made(batch(64)["images"])["class_logits"].shape == (2, 84, 3)


@pytest.mark.parametrize("name", ["soft_classes", "class", "box", "total"])
def test_names_that_clash_are_told(trained, name):
    strategies = [SoftClasses(), SoftClasses(name=name)]
    with pytest.raises(MkdError, match=f"strategies: expected a name for each.* got soft_classes, {name}"):
        Distiller(trained[0].student, trained[0].teacher, strategies=strategies)


def test_a_strategy_without_its_source_is_told(trained):
    message = "strategy hint: expected a guide to learn from, got networks student, teacher"
    with pytest.raises(MkdError, match=message):
        Distiller(trained[0].student, trained[0].teacher, strategies=[STRATEGIES.build("hint")])


def test_images_are_brought_to_each_input(trained):
    network = trained[0].student
    same = tf.constant(batch(64)["images"])
    assert resized(same, network) is same
    # Fine stripes are grey when they are made four times smaller; two samples in four are white.
    stripes = np.tile(np.float32([0, 255, 255, 0])[:, None], (1, 256, 64, 3))
    small = resized(tf.constant(stripes), network).numpy()
    assert small.shape == (1, 64, 64, 3)
    np.testing.assert_allclose(small[:, 4:-4, 4:-4], 127.5, atol=1)
