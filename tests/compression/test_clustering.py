"""Clustering: assignments and centroids against NumPy and tfmot, counts that stay through training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation
from tensorflow_model_optimization.python.core.clustering.keras.clustering_algorithm import (
    ClusteringAlgorithm,
)

from mkd_tf.checks import MkdError
from mkd_tf.compression.clustering import ClusteredConvolution, clusterable, clustered, k_means, nearest
from mkd_tf.compression.kernels import stripped
from mkd_tf.compression.twin import keras_twin, take_back
from tests import harness
from tests.compression import steps

CLUSTERED = {"fine_conv", "coarse_conv", "predict"}
FAMILIES = ("tiny", "mobilenet_v2")


def found(model) -> dict[str, ClusteredConvolution]:
    return {x.layer.name: x for x in model.layers if isinstance(x, ClusteredConvolution)}


def counts(model) -> dict[str, int]:
    return {name: len(np.unique(kernel)) for name, kernel in steps.kernels(model).items()}


def nearest_by_distance(weights, centroids):
    return np.abs(np.asarray(weights)[..., None] - centroids).argmin(axis=-1)


def test_the_nearest_centroid():
    rng = np.random.default_rng(0)
    weights, centroids = rng.normal(size=(3, 3, 4, 5)), rng.permutation(rng.normal(size=7))
    index = nearest(tf.constant(weights, "float32"), tf.constant(centroids, "float32"))
    np.testing.assert_array_equal(index, nearest_by_distance(weights, centroids))


def test_the_nearest_centroid_by_hand():
    """Centroids in no order; 0.5 is half way between 0 and 1 and goes to the smaller."""
    index = nearest(tf.constant([[-9.0, 0.4], [0.5, 0.6]]), tf.constant([1.0, -2.0, 0.0]))
    np.testing.assert_array_equal(index, [[1, 2], [2, 0]])


def test_values_and_gradients_are_tfmots():
    rng = np.random.default_rng(1)
    weights = tf.Variable(rng.normal(size=(3, 3, 2, 4)).astype("float32"))
    centroids = tf.Variable(np.array([0.7, -0.9, 0.1, 5.0], "float32"))
    upstream = rng.normal(size=weights.shape).astype("float32")
    algorithm = ClusteringAlgorithm(centroids, GradientAggregation.AVG)
    with tf.GradientTape(persistent=True) as tape:
        ours = clustered(weights, centroids)
        theirs = algorithm.get_clustered_weight(algorithm.get_pulling_indices(weights), weights)
        totals = tf.reduce_sum(ours * upstream), tf.reduce_sum(theirs * upstream)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for variable in (weights, centroids):
        np.testing.assert_allclose(
            tape.gradient(totals[0], variable), tape.gradient(totals[1], variable), atol=1e-5
        )
    # 5.0 is nobody's nearest: no gradient, and no division by zero.
    assert tape.gradient(totals[0], centroids)[3] == 0


def test_gradients_by_hand():
    weights, centroids = tf.Variable([0.0, 0.2, 2.0]), tf.Variable([0.1, 1.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(clustered(weights, centroids) * tf.constant([1.0, 4.0, 10.0]))
    to_weights, to_centroids = tape.gradient(total, [weights, centroids])
    assert float(total) == pytest.approx(0.1 * 1 + 0.1 * 4 + 1.0 * 10)
    np.testing.assert_allclose(to_weights, [1, 4, 10])
    np.testing.assert_allclose(to_centroids, [(1 + 4) / 2, 10])


def test_adam_moves_a_centroid_by_the_learning_rate_however_many_weights_it_has():
    weights, centroids = tf.zeros(1000), keras.Variable(np.array([0.1, 9.0], "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(clustered(weights, centroids.value))
    keras.optimizers.Adam(0.01).apply([tape.gradient(total, centroids.value)], [centroids])
    np.testing.assert_allclose(centroids.numpy(), [0.09, 9.0], atol=1e-5)


def test_k_means_by_hand():
    np.testing.assert_allclose(k_means(np.array([1.0, 0.2, 1.1, 0.0, 0.9], "float32"), 2), [0.1, 1.0])


def test_k_means_ends_where_each_centroid_is_the_mean_of_its_weights():
    values = np.random.default_rng(2).normal(size=(400,)).astype("float32")
    centroids = k_means(values, 8)
    index = nearest_by_distance(values, centroids)
    means = [values[index == i].mean() for i in range(8)]
    np.testing.assert_allclose(centroids, means, atol=1e-5)
    # The best that 8 levels can do on a normal distribution is an error of 0.0345 (Max, 1960).
    assert ((values - centroids[index]) ** 2).mean() < 0.05
    np.testing.assert_array_equal(k_means(values, 8), centroids)


def test_k_means_of_few_different_values_is_those_values():
    values = np.array([[0.5, -0.5], [0.5, 0.0]], "float32")
    np.testing.assert_array_equal(k_means(values, 5), np.array([-0.5, 0.0, 0.5, 0.5, 0.5], "float32"))


def test_a_model_of_many_clusters_computes_about_what_the_twin_does():
    twin, batch = steps.small_twin(), steps.images()
    errors = []
    for clusters in (4, 64):
        model = clusterable(twin, clusters)
        assert set(found(model)) == CLUSTERED
        assert all(n <= clusters for k, n in counts(stripped(model, twin)).items() if k in CLUSTERED)
        errors.append(float(tf.reduce_mean((model(batch)["fine"] - twin(batch)["fine"]) ** 2)))
    assert errors[1] < errors[0] / 20


def test_layers_that_have_nothing_to_share_stay():
    twin = steps.small_twin()
    model = clusterable(twin, 216)
    # 216, 576 and 288 weights: the first has as many clusters already.
    assert set(found(model)) == {"coarse_conv", "predict"}
    np.testing.assert_array_equal(model.get_layer("fine_conv").kernel, twin.get_layer("fine_conv").kernel)
    np.testing.assert_array_equal(model.get_layer("fixed").kernel, twin.get_layer("fixed").kernel)
    assert not {id(v) for v in model.variables} & {id(v) for v in twin.variables}


def test_training_moves_all_and_keeps_the_count_in_the_averaged_copy_too():
    twin, batch = steps.small_twin(), steps.images()
    model, copy = clusterable(twin, 6), clusterable(twin, 6)
    before = {v.name: v.numpy() for v in model.variables}
    steps.train(model, batch, 8, after=lambda: steps.average(copy, model, keep=0.8))
    still = {v.name for v in model.variables if np.array_equal(v.numpy(), before[v.name])}
    assert still == {"fixed/kernel:0", "fixed/bias:0"}  # so batch norms' statistics moved too
    for trained in (model, copy):
        plain = stripped(trained, twin)
        assert all(n <= 6 for k, n in counts(plain).items() if k in CLUSTERED), counts(plain)
        for name, expected in trained(batch).items():
            np.testing.assert_allclose(plain(batch)[name], expected, atol=1e-5)
        for name, layer in found(trained).items():
            centroids, weights = layer.centroids.numpy(), layer.layer.kernel.numpy()
            np.testing.assert_array_equal(
                plain.get_layer(name).kernel, centroids[nearest_by_distance(weights, centroids)]
            )


def test_a_call_changes_no_variable():
    model = clusterable(steps.small_twin(), 6)
    found(model)["predict"].centroids.assign_add(tf.ones(6))
    before = [v.numpy() for v in model.variables]
    tf.function(lambda x: model(x, training=False))(tf.constant(steps.images()))
    for variable, then in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), then)


def test_a_model_of_another_twin_can_be_filled():
    """A stage that goes on, and a file, build the model first and fill its variables then."""
    batch, first, other = (
        steps.images(),
        clusterable(steps.small_twin(0), 6),
        clusterable(steps.small_twin(1), 6),
    )
    for variable, value in zip(other.variables, first.variables, strict=True):
        variable.assign(value)
    for name, expected in first(batch).items():
        np.testing.assert_array_equal(other(batch)[name], expected)


def test_the_way_back_to_keras_3():
    detector, batch = steps.small_model(), steps.images()
    model = clusterable(keras_twin(detector), 6)
    plain = stripped(model, keras_twin(detector))
    take_back(plain, detector)
    assert len(np.unique(detector.get_layer("coarse_conv").kernel)) <= 6
    for name, expected in model(batch).items():
        np.testing.assert_allclose(detector(batch)[name], expected, atol=1e-5)


def test_one_cluster_is_refused():
    with pytest.raises(MkdError, match="clusters: expected 2 or more, got 1"):
        clusterable(steps.small_twin(), 1)


@pytest.mark.slow
@pytest.mark.parametrize("spec", FAMILIES)
def test_every_family(spec):
    detector = harness.build(spec)
    twin, batch = keras_twin(detector.core), steps.images(2, harness.IMAGE_SIZE)
    model = clusterable(twin, 32)
    steps.train(model, batch, 2, is_compiled=False)
    plain = stripped(model, twin)
    assert all(n <= 32 for n in counts(plain).values()), counts(plain)
    take_back(plain, detector.core)
    for name, expected in model(batch).items():
        np.testing.assert_allclose(detector.core(batch)[name], expected, atol=2e-4, err_msg=name)
