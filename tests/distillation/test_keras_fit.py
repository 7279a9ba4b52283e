"""`fit` as Keras's users know it: callbacks, precision, XLA, loss scaling, and arguments that are refused."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.outputs import resized
from mkd_tf.strategies import STRATEGIES
from tests.distillation.test_distiller import batch, detector, endless

EVERY = tuple(name for name in STRATEGIES if name != "localization")
SOFT = ("soft_classes", "soft_boxes")


@contextlib.contextmanager
def precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def distiller(policy="float32", specs=SOFT, optimizer=None, **compiling):
    with precision(policy):
        keras.utils.set_random_seed(3)
        strategies = [STRATEGIES.build(spec) for spec in specs]
        made = Distiller(detector(), detector(128, 1), detector(64, 2), strategies)
        made.compile(optimizer=optimizer or keras.optimizers.SGD(1e-3), **compiling)
    return made


def history(made, epochs=1, steps=1, **fitting):
    return made.fit(endless(batch()), epochs=epochs, steps_per_epoch=steps, verbose=0, **fitting).history


@pytest.fixture(scope="module")
def reference():
    return history(distiller(specs=EVERY, run_eagerly=True))


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 0.01), ("mixed_bfloat16", 0.05)])
def test_losses_are_those_of_float32_in_mixed_precision(policy, tolerance, reference):
    made = distiller(policy, EVERY, run_eagerly=True)
    found = history(made)
    assert set(found) == set(reference)
    for name in ("loss", "class", "box", *EVERY):
        np.testing.assert_allclose(found[name], reference[name], rtol=tolerance, atol=1e-3, err_msg=name)
    assert type(made.optimizer).__name__ == ("LossScaleOptimizer" if policy == "mixed_float16" else "SGD")
    assert {v.dtype for strategy in made.strategies for v in strategy.variables} == {"float32"}


def test_a_scaled_loss_takes_the_same_step():
    plain, scaled = distiller(run_eagerly=True), distiller(run_eagerly=True)
    scaled.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3)), run_eagerly=True)
    assert history(plain)["loss"] == history(scaled)["loss"]
    for a, b in zip(plain.student.trainable_variables, scaled.student.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_single_batch_is_a_step_of_fit():
    by_batch, by_fit = distiller(run_eagerly=True), distiller(run_eagerly=True)
    data = tf.nest.map_structure(tf.constant, batch())
    found = by_batch.train_on_batch(data, return_dict=True)
    assert found == {name: values[0] for name, values in history(by_fit).items()}
    tested = by_batch.test_on_batch(data, return_dict=True)
    assert tested["loss"] == by_fit.evaluate(endless(batch()), steps=1, verbose=0, return_dict=True)["loss"]
    for given in ({"y": np.zeros(2)}, {"y": np.zeros(2), "sample_weight": np.ones(2)}):
        with pytest.raises(MkdError, match="y of a step of Distiller: expected none"):
            by_batch.train_on_batch(data, **given)


def test_gradients_are_accumulated_over_steps():
    made = distiller(optimizer=keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2), run_eagerly=True)
    kernels = [v for v in made.student.trainable_variables if v.name == "kernel"]
    before = [np.array(v) for v in kernels]
    history(made)
    np.testing.assert_array_equal(before[0], kernels[0])
    history(made)
    assert np.abs(before[0] - np.array(kernels[0])).max() > 0


def test_every_standard_callback_works_with_its_default_monitor(tmp_path):
    callbacks = keras.callbacks
    made = distiller(jit_compile=False, steps_per_execution=2)
    used = [
        callbacks.EarlyStopping(patience=1, restore_best_weights=True),
        callbacks.ReduceLROnPlateau(patience=0),
        callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.TerminateOnNaN(),
        callbacks.BackupAndRestore(tmp_path / "backup"),
        callbacks.TensorBoard(tmp_path / "board"),
    ]
    validation = endless(batch(count=1))
    found = history(made, 2, 2, callbacks=used, validation_data=validation, validation_steps=2)
    assert found["loss"] == found["total"] and found["val_loss"] == found["val_total"]
    assert all(value > 0 for value in (*found["loss"], *found["val_loss"]))
    assert "val_loss" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert isinstance(loaded, Distiller)
    assert made.evaluate(validation, steps=1, verbose=0, return_dict=True)["loss"] > 0


def test_early_stopping_stops_when_the_loss_no_longer_falls():
    made = distiller(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=1.0)
    assert len(history(made, epochs=5, callbacks=[stopping])["loss"]) == 2


@pytest.mark.slow
def test_xla_compiles_and_agrees():
    compiled, plain = distiller(jit_compile=True), distiller(run_eagerly=True)
    ours, reference = history(compiled, 2), history(plain, 2)
    for name in ("loss", "class", "box", *SOFT):
        np.testing.assert_allclose(ours[name], reference[name], rtol=1e-3, err_msg=name)


def test_resizing_by_matrices_is_that_of_the_image_operator():
    images = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    for size in (64, 128):
        network = detector(size)
        expected = keras.ops.image.resize(images, (size, size), interpolation="bilinear", antialias=True)
        np.testing.assert_allclose(resized(tf.constant(images), network), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("argument", "value"), [("class_weight", {0: 2.0}), ("sample_weight", np.ones(2)), ("y", np.ones(2))]
)
def test_what_fit_has_no_use_for_is_refused_by_name(argument, value):
    made = distiller(specs=(), run_eagerly=True)
    with pytest.raises(MkdError, match=f"{argument} of Distiller.fit: expected none, got"):
        made.fit(endless(batch()), **{argument: value})


def test_a_second_positional_argument_is_recognised():
    with pytest.raises(MkdError, match="y of Distiller.fit"):
        distiller(specs=(), run_eagerly=True).fit(endless(batch()), np.ones(2))


@pytest.mark.parametrize("argument", ["loss", "loss_weights", "metrics", "weighted_metrics"])
def test_what_compile_has_no_use_for_is_refused_by_name(argument):
    with pytest.raises(MkdError, match=f"{argument} of Distiller.compile"):
        distiller(specs=(), **{argument: ["mse"]})
