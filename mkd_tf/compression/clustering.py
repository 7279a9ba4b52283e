"""Clustering: every kernel has at most k different values, shared by its weights.

Each weight is replaced by the nearest of k trained centroids (Han et al., "Deep Compression",
ICLR 2016, section 3, whose centroids start from k-means). Gradients are those of tfmot: a
centroid gets the mean over its weights (`GradientAggregation.AVG`), the weight itself gets its
gradient straight through, so that it can change its cluster.

Departures from tfmot:

    gradients  are dense. Those of `tf.gather` name a centroid once for each of its weights,
               and Keras 3's Adam squares such entries one by one: for n weights that agree, a
               step of up to sqrt(n) times the learning rate.
    centroids  start at the means of their clusters, by Lloyd's iterations from tfmot's
               k-means++ seeds, which alone are weights picked at random.
    indices    are not stored. In an averaged model copied indices would not be those of the
               nearest averaged centroid; computed in each call, they are.
    memory     tfmot compares each weight with each centroid; here each weight is searched
               among the middles between sorted centroids.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import CentroidInitialization
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import (
    CentroidsInitializerFactory,
)

from mkd_tf.checks import check_at_least
from mkd_tf.compression.kernels import ComputedKernel, wrapped

LLOYD_ITERATIONS = 50


def nearest(weights: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
    """Returns the index of the nearest of `centroids` `[K]` for each weight.

    It is int32 of the shape of `weights`, and half way between two that of the smaller centroid.
    """
    order = tf.argsort(centroids)
    ranked = tf.gather(centroids, order)
    rank = tf.searchsorted((ranked[1:] + ranked[:-1]) / 2, tf.reshape(weights, [-1]))
    return tf.reshape(tf.gather(order, rank), tf.shape(weights))


def clustered(weights: tf.Tensor | tf.Variable, centroids: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Returns the nearest of `centroids` `[K]` for each of `weights`, differentiable in both."""
    return _clustered(tf.convert_to_tensor(weights), tf.convert_to_tensor(centroids))


@tf.custom_gradient
def _clustered(weights: tf.Tensor, centroids: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    index = nearest(weights, centroids)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.size(centroids)
        return upstream, tf.math.unsorted_segment_mean(upstream, index, count)

    return tf.gather(centroids, index), gradient


def k_means(values: np.ndarray, clusters: int) -> np.ndarray:
    """Returns `[clusters]` sorted centroids of `values`, which are taken as one flat list.

    If there are no more different values than clusters, the values are the centroids, the
    last of them repeated.
    """
    values = np.sort(values.reshape(-1))
    different = np.unique(values)
    if len(different) <= clusters:
        return np.pad(different, (0, clusters - len(different)), mode="edge")
    seed = CentroidsInitializerFactory.get_centroid_initializer(CentroidInitialization.KMEANS_PLUS_PLUS)
    centroids = np.sort(seed(tf.constant(values), clusters).get_cluster_centroids().numpy())
    for _ in range(LLOYD_ITERATIONS):
        # Of sorted values, a cluster is the run between two cuts.
        cuts = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2, side="right")
        runs = np.split(values, cuts)
        moved = np.array([run.mean() if run.size else c for run, c in zip(runs, centroids, strict=True)])
        if np.array_equal(moved, centroids):
            break
        centroids = moved.astype(values.dtype)
    return centroids


def add_centroids(layer: tf_keras.layers.Layer, name: str, kernel: tf.Variable, clusters: int) -> tf.Variable:
    """Returns a new trainable weight `[clusters]` of `layer` that starts at the kernel's `k_means`."""
    start = tf_keras.initializers.Constant(k_means(kernel.numpy(), clusters))
    return layer.add_weight(name, shape=(clusters,), initializer=start, trainable=True)


class ClusteredConvolution(ComputedKernel, tf_keras.layers.Wrapper):
    """A convolution whose kernel consists of `clusters` values.

    Attributes:
      centroids: `[clusters]` float, trained.
    """

    def __init__(self, layer: tf_keras.layers.Conv2D, clusters: int, **kwargs: Any):
        super().__init__(layer, **{"name": f"clustered_{layer.name}"} | kwargs)
        self.clusters = clusters

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self.centroids = add_centroids(self, "cluster_centroids", self.layer.kernel, self.clusters)

    def computed_kernel(self) -> tf.Tensor:
        return clustered(self.layer.kernel, self.centroids)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"clusters": self.clusters}


def clusterable(twin: tf_keras.Model, clusters: int) -> tf_keras.Model:
    """Returns a copy of `twin` whose convolutions have kernels of at most `clusters` values.

    A kernel of no more weights than clusters (at least 2) stays as it is. Batch norms keep training.
    """
    check_at_least("clusters", clusters, 2)

    def wrap(layer: tf_keras.layers.Conv2D) -> tf_keras.layers.Layer:
        few = layer.kernel.shape.num_elements() <= clusters
        return layer if few else ClusteredConvolution(layer, clusters)

    return wrapped(twin, wrap)
