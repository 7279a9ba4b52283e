"""Zeros and clusters under quantisation: through steps, in averaged and refilled models, in the int8 file."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from mkd_tf.compression.clustering import clusterable
from mkd_tf.compression.kernels import stripped
from mkd_tf.compression.preserving import (
    ClustersQuantizer,
    PreservingScheme,
    SparsityQuantizer,
    computed_kernel,
    hand_over,
)
from mkd_tf.compression.pruning import advance, prunable
from mkd_tf.compression.quantization import QUANTIZE_CONFIGS, quantization_aware, seed_ranges
from mkd_tf.compression.twin import keras_twin
from mkd_tf.conversion.tflite.weights_report import weights_report
from tests import int8
from tests.compression import steps

CLUSTERS = 6
QUANTIZERS = {"sparsity": SparsityQuantizer(), "clusters": ClustersQuantizer(CLUSTERS)}


def compressed(kind: str, batch_size: int | None = None) -> tf_keras.Model:
    """A twin that was pruned to a half, or clustered."""
    twin = steps.small_twin()
    if kind == "sparsity":
        model = prunable(twin, 0.5, begin=0, end=1, frequency=1)
        advance(model, 1)
    else:
        model = clusterable(twin, CLUSTERS)
    return stripped(model, keras_twin(steps.small_model(), batch_size))


def quantized(twin: tf_keras.Model, kind: str) -> tf_keras.Model:
    quantize = tfmot.quantization.keras

    def annotate(layer):
        config = QUANTIZE_CONFIGS.get(type(layer))
        return quantize.quantize_annotate_layer(layer, config()) if config else layer

    with quantize.quantize_scope({c.__name__: c for c in QUANTIZE_CONFIGS.values()}):
        annotated = tf_keras.models.clone_model(twin, clone_function=annotate)
        annotated.set_weights(twin.get_weights())
        annotated = quantize.quantize_annotate_model(annotated)
        model = quantize.quantize_apply(annotated, PreservingScheme(QUANTIZERS[kind]))
    for layer in model.layers:
        if type(getattr(layer, "layer", layer)) is tf_keras.layers.BatchNormalization:
            layer.trainable = False
    seed_ranges(model, [steps.images()])
    return model


@functools.cache
def trained(kind: str) -> tuple[tf_keras.Model, tf_keras.Model]:
    """A model after some steps, and its averaged copy."""
    model, copy = (quantized(compressed(kind), kind) for _ in range(2))
    steps.train(model, steps.images(), 6, after=lambda: steps.average(copy, model, keep=0.7))
    return model, copy


def preserved(model: tf_keras.Model) -> dict[str, np.ndarray]:
    kernels = {x.name.removeprefix("quant_"): computed_kernel(x) for x in model.layers}
    return {name: kernel.numpy() for name, kernel in kernels.items() if kernel is not None}


@pytest.mark.parametrize("which", [0, 1], ids=["trained", "averaged"])
def test_zeros_stay(which):
    start = steps.kernels(compressed("sparsity"))
    kernels = preserved(trained("sparsity")[which])
    assert set(kernels) == {"fine_conv", "coarse_conv", "predict"}
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(kernel == 0, start[name] == 0)
        assert not np.allclose(kernel, start[name])


@pytest.mark.parametrize("which", [0, 1], ids=["trained", "averaged"])
def test_clusters_stay(which):
    start = steps.kernels(compressed("clusters"))
    kernels = preserved(trained("clusters")[which])
    assert set(kernels) == {"fine_conv", "coarse_conv", "predict"}
    for name, kernel in kernels.items():
        assert len(np.unique(kernel)) <= CLUSTERS
        assert not np.isin(kernel, start[name]).any(), "the centroids learn"


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_a_call_starts_from_the_compressed_kernel(kind):
    twin = compressed(kind)
    for name, kernel in preserved(quantized(twin, kind)).items():
        np.testing.assert_allclose(kernel, twin.get_layer(name).kernel, atol=1e-6)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_a_model_of_an_uncompressed_twin_can_be_filled(kind):
    """As a stage that goes on does, and a file: built first, filled then."""
    model, _ = trained(kind)
    other = quantized(steps.small_twin(seed=1), kind)
    for variable, value in zip(other.variables, model.variables, strict=True):
        variable.assign(value)
    for name, kernel in preserved(model).items():
        np.testing.assert_array_equal(preserved(other)[name], kernel)
    for name, x in model(steps.images()).items():
        np.testing.assert_array_equal(other(steps.images())[name], x)


def test_a_kernel_of_few_weights_has_no_centroids():
    layer = tf_keras.layers.Conv2D(2, 1)
    layer.build((None, 4, 4, 3))
    wrapper = tf_keras.layers.Wrapper(layer)
    weights = ClustersQuantizer(6).build(layer.kernel.shape, "kernel", wrapper)
    assert set(weights) == {"min_var", "max_var"}
    assert ClustersQuantizer(6).computed_kernel(layer.kernel, weights) is layer.kernel


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_the_integer_file_has_them_and_computes_the_same(kind):
    model, copy = trained(kind)
    plain = quantization_aware(compressed(kind, batch_size=1))
    hand_over(copy, plain)
    images = steps.images(6, seed=3)
    content = int8.int8_file(plain, (1, steps.SIDE, steps.SIDE, 3))
    kernels = {tuple(k["shape"]): k for k in weights_report(content)["kernels"] if k["operator"] == "CONV_2D"}
    # `fine`, `coarse` and `predict`, outputs first; `fixed` is 1x1 and nobody's.
    for shape in ((8, 3, 3, 3), (8, 3, 3, 8), (4, 3, 3, 8)):
        if kind == "sparsity":
            assert kernels[shape]["zeros"] >= 0.5
        else:
            assert kernels[shape]["distinct_per_channel"] <= CLUSTERS
    found, scales = int8.run(content, images), int8.scales(content)
    for name, x in copy(tf.constant(images), training=False).items():
        assert np.abs(found[name] - x).max() < 3.5 * scales[name], name
