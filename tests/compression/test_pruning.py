"""Pruning: masks against NumPy, zeros that stay through training, averaging, stripping and resuming."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from mkd_tf.checks import MkdError
from mkd_tf.compression.kernels import stripped, wrapped
from mkd_tf.compression.pruning import (
    PrunedConvolution,
    advance,
    erk_sparsities,
    prunable,
)
from mkd_tf.compression.twin import keras_twin, take_back
from tests import harness
from tests.compression import steps

PRUNED = {"fine_conv", "coarse_conv", "predict"}
FAMILIES = ("tiny", "resnet(width=0.25)", "mobilenet_v2")


def pruned(model) -> dict[str, PrunedConvolution]:
    return {x.layer.name: x for x in model.layers if isinstance(x, PrunedConvolution)}


def masked(model) -> dict[str, float]:
    """The share of weights that each kernel's mask leaves out, by the inner layer's name."""
    return {
        name: 1.0 - float(layer.mask.numpy().mean(dtype="float32")) for name, layer in pruned(model).items()
    }


def values(model) -> list[np.ndarray]:
    return [v.numpy() for v in model.variables]


def largest(kernel: np.ndarray, count: int) -> np.ndarray:
    """A mask of the `count` weights of greatest magnitude, by sorting them all."""
    order = np.argsort(-np.abs(kernel).reshape(-1), kind="stable")
    mask = np.zeros(kernel.size, "uint8")
    mask[order[:count]] = 1
    return mask.reshape(kernel.shape)


def test_until_the_first_update_it_computes_what_the_twin_does():
    twin, batch = steps.small_twin(), steps.images()
    model = prunable(twin, 0.5, begin=0, end=8, frequency=4)
    assert set(pruned(model)) == PRUNED
    for training in (False, True):
        expected, found = twin(batch, training=training), model(batch, training=training)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    assert set(masked(model).values()) == {0.0}


def test_other_layers_are_copied_and_the_twin_keeps_its_own():
    twin = steps.small_twin()
    before = values(twin)
    model = prunable(twin, 0.5, begin=0, end=1, frequency=1)
    others = [x.name for x in model.layers if not isinstance(x, PrunedConvolution)]
    assert set(others) == {x.name for x in twin.layers} - PRUNED
    assert {"up", "depthwise", "fixed"} <= set(others)
    assert not {id(v) for v in model.variables} & {id(v) for v in twin.variables}
    advance(model, 1)
    for layer in pruned(model).values():
        layer.layer.kernel.assign(layer.computed_kernel())
    for now, then in zip(values(twin), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_sparsity_is_shared_out_by_hand():
    # Sides 1 + 1 + 2 + 2 over 4 weights, and 1 + 1 + 10 + 10 over 100. All 104 keep 52. At equal
    # factors the small one would keep 6 / 28 of them, 11 of its 4: it stays dense, the other keeps 48.
    found = erk_sparsities({"small": (1, 1, 2, 2), "large": (1, 1, 10, 10)}, 0.5)
    assert found == {"small": 0.0, "large": pytest.approx(0.52)}


def test_a_shared_out_sparsity_is_that_of_the_whole():
    shapes = {"a": (3, 3, 8, 16), "b": (3, 3, 32, 32), "c": (1, 1, 16, 16), "d": (3, 3, 16, 3)}
    found = erk_sparsities(shapes, 0.6)
    sizes = {name: np.prod(shape) for name, shape in shapes.items()}
    assert sum(found[n] * sizes[n] for n in shapes) == pytest.approx(0.6 * sum(sizes.values()))
    assert found["b"] > found["a"] > found["d"]


def test_the_erk_layout_reaches_the_model():
    model = prunable(steps.small_twin(), 0.5, begin=0, end=1, frequency=1, layout="erk")
    advance(model, 1)
    shapes = {n: tuple(x.layer.kernel.shape) for n, x in pruned(model).items()}
    expected = erk_sparsities(shapes, 0.5)
    for name, share in masked(model).items():
        assert share == pytest.approx(expected[name], abs=1 / np.prod(shapes[name]))


def test_masks_keep_the_largest_weights_as_the_schedule_says():
    """Updates at 1, 4, 7 and at the end, 9, though 3 does not divide the 8 steps between."""
    model = prunable(steps.small_twin(), 0.5, begin=1, end=9, frequency=3)
    rng, step_masks = np.random.default_rng(0), {}
    for step in range(12):
        kernels = {name: x.layer.kernel for name, x in pruned(model).items()}
        for kernel in kernels.values():
            kernel.assign(rng.normal(size=kernel.shape).astype("float32"))
        advance(model, step)
        for name, kernel in kernels.items():
            if step in (1, 4, 7, 9):
                sparsity = 0.5 * (1 - (1 - (step - 1) / 8) ** 3)
                step_masks[name] = largest(kernel.numpy(), round(kernel.numpy().size * (1 - sparsity)))
            expected = step_masks.get(name, np.ones(kernel.shape))
            np.testing.assert_array_equal(pruned(model)[name].mask.numpy(), expected, f"{name}, step {step}")
    assert masked(model) == dict.fromkeys(PRUNED, 0.5)


def test_a_mask_by_hand():
    twin = steps.small_twin()
    kernel = twin.get_layer("coarse_conv").kernel
    kernel.assign(np.arange(-1, kernel.numpy().size - 1, dtype="float32").reshape(kernel.shape) * 0.01)
    model = prunable(twin, 0.01, begin=0, end=1, frequency=1)
    advance(model, 1)
    # 576 weights -0.01, 0, 0.01, ...: 1 % is 6 of them, the smallest are 0, +-0.01, 0.02, 0.03, 0.04.
    assert kernel.numpy().size == 576
    masked = twin.get_layer("coarse_conv").kernel.numpy()[pruned(model)["coarse_conv"].mask.numpy() == 0]
    np.testing.assert_allclose(np.sort(masked), [-0.01, 0, 0.01, 0.02, 0.03, 0.04], atol=1e-6)


def test_calls_change_nothing_however_many():
    """`predict` is called on two levels: its schedule has to go by steps all the same."""
    model, batch = prunable(steps.small_twin(), 0.5, begin=0, end=1, frequency=1), steps.images()
    advance(model, 1)
    before = values(model)
    model(batch, training=False)
    for now, then in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    model(batch, training=True)
    for layer in pruned(model).values():
        assert int(layer.pruning_step) == 1
    changed = {
        v.name.split("/")[-1].split(":")[0]
        for v, then in zip(model.variables, before, strict=True)
        if not np.array_equal(v.numpy(), then)
    }
    assert changed == {"moving_mean", "moving_variance"}


def test_a_masked_weight_gets_no_gradient_and_keeps_its_value():
    model, batch = prunable(steps.small_twin(), 0.5, begin=0, end=1, frequency=1), steps.images()
    advance(model, 1)
    layers = pruned(model)
    with tf.GradientTape() as tape:
        total = tf.add_n([tf.reduce_sum(x**2) for x in model(batch, training=True).values()])
    names = sorted(layers)
    for name, gradient in zip(
        names, tape.gradient(total, [layers[n].layer.kernel for n in names]), strict=True
    ):
        mask = layers[name].mask.numpy() == 1
        assert (gradient.numpy()[~mask] == 0).all()
        assert (gradient.numpy()[mask] != 0).mean() > 0.9
        assert (layers[name].layer.kernel.numpy()[~mask] != 0).all()


def test_training_ends_with_the_sparsity_asked_for_in_the_averaged_copy_too():
    twin, batch = steps.small_twin(), steps.images()
    model, copy = (prunable(twin, 0.5, begin=0, end=7, frequency=3) for _ in range(2))
    steps.train(model, batch, 10, before=advance, after=lambda: steps.average(copy, model, keep=0.8))
    assert masked(copy) == masked(model) == dict.fromkeys(PRUNED, 0.5)
    plain = stripped(copy, twin)
    for name, kernel in steps.kernels(plain).items():
        if name in PRUNED:
            assert (kernel == 0).mean() == 0.5
            np.testing.assert_array_equal(kernel == 0, pruned(model)[name].mask.numpy() == 0)
    for name, expected in copy(batch).items():
        np.testing.assert_allclose(plain(batch)[name], expected, atol=1e-6)


def test_the_way_back_to_keras_3():
    detector, batch = steps.small_model(), steps.images()
    twin = keras_twin(detector)
    model = prunable(twin, 0.5, begin=0, end=1, frequency=1)
    steps.train(model, batch, 3, before=advance)
    plain = stripped(model, keras_twin(detector, batch_size=1))
    assert [x.name for x in plain.layers] == [x.name for x in twin.layers]
    assert plain.input_shape[0] == 1
    take_back(plain, detector)
    for name, expected in model(batch).items():
        np.testing.assert_allclose(detector(batch)[name], expected, atol=1e-5)


def test_a_kernel_keeps_the_zeros_it_has():
    twin = steps.small_twin()
    kernel = twin.get_layer("coarse_conv").kernel
    kernel.assign(kernel * largest(kernel.numpy(), 100))
    model = prunable(twin, 0.5, begin=0, end=4, frequency=1)
    for step in range(6):
        advance(model, step)
        np.testing.assert_array_equal(pruned(model)["coarse_conv"].mask, kernel.numpy() != 0)
    assert masked(model)["fine_conv"] == 0.5


def test_a_kernel_of_zeros_keeps_them_all():
    twin = steps.small_twin()
    kernel, norm = twin.get_layer("coarse_conv").kernel, twin.get_layer("coarse_bn")
    kernel.assign(tf.zeros_like(kernel))
    norm.beta.assign(tf.ones_like(norm.beta))  # Else no gradient passes the activation behind it.
    model = prunable(twin, 0.5, begin=0, end=4, frequency=1)
    steps.train(model, steps.images(), 6, before=advance)
    assert masked(model) == dict.fromkeys(PRUNED, 0.5) | {"coarse_conv": 1.0}
    assert not steps.kernels(stripped(model, twin))["coarse_conv"].any()


def test_all_that_a_stage_needs_to_go_on_is_in_the_variables():
    """Killed after 5 steps: a model from the twin, filled with the variables, goes on the same way."""
    batch = steps.images()

    def build():
        return prunable(steps.small_twin(), 0.5, begin=0, end=7, frequency=3)

    model = build()
    steps.train(model, batch, 5, before=advance)
    resumed = build()
    for variable, value in zip(resumed.variables, values(model), strict=True):
        variable.assign(value)
    for step in (5, 6, 7):
        advance(model, step)
        advance(resumed, step)
        for now, then in zip(values(resumed), values(model), strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": 0}, "sparsity"),
        ({"begin": -1}, "begin"),
        ({"end": 2}, "end"),
        ({"frequency": 0}, "frequency"),
    ],
)
def test_what_cannot_be_is_told(changed, named):
    arguments = {"sparsity": 0.5, "begin": 2, "end": 4, "frequency": 1} | changed
    sparsity = arguments.pop("sparsity")
    with pytest.raises(MkdError, match=f"^{named}: expected"):
        prunable(steps.small_twin(), sparsity, **arguments)


def test_a_model_without_convolutions_is_told():
    images = tf_keras.Input((4, 4, 3))
    twin = tf_keras.Model(images, tf_keras.layers.ReLU(6.0)(images), name="bare")
    with pytest.raises(MkdError, match="compression of bare: expected a model with trained Conv2D layers"):
        wrapped(twin, lambda layer: layer)


@pytest.mark.slow
@pytest.mark.parametrize("spec", FAMILIES)
def test_every_family(spec):
    detector = harness.build(spec)
    twin, batch = keras_twin(detector.core), steps.images(2, harness.IMAGE_SIZE)
    model = prunable(twin, 0.5, begin=0, end=1, frequency=1)
    steps.train(model, batch, 2, before=advance, is_compiled=False)
    plain = stripped(model, twin)
    zeros = {n: (k == 0).mean() for n, k in steps.kernels(plain).items()}
    # Half of an odd number of weights is rounded.
    assert all(z == pytest.approx(0.5, abs=0.01) for z in zeros.values()), zeros
    take_back(plain, detector.core)
    for name, expected in model(batch).items():
        np.testing.assert_allclose(detector.core(batch)[name], expected, atol=2e-4, err_msg=name)
