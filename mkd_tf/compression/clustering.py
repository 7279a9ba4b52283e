"""Clustering: every kernel has at most k different values, shared by its weights.

Each weight is replaced by the nearest of k trained centroids (Han et al., "Deep Compression",
ICLR 2016, section 3, whose centroids start from k-means). Gradients are those of tfmot: a
centroid gets the mean over its weights (`GradientAggregation.AVG`), the weight itself gets its
gradient straight through, so that it can change its cluster.

What is not tfmot's:

    gradients  come dense. Those of `tf.gather` name a centroid once for each of its weights,
               and Keras 3's Adam squares such entries one by one: for n weights that agree, a
               step of up to sqrt(n) times the learning rate.
    centroids  start at the means of their clusters, by Lloyd's iterations from tfmot's
               k-means++ seeds, which alone are weights picked at random.
    indices    are not stored. In an averaged model copied indices would not be those of the
               nearest averaged centroid; computed in each call, they are.
    memory     tfmot compares each weight with each centroid; here one search over the middles
               between sorted centroids does.
"""

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
    """Returns the index of the centroid nearest to each weight.

    Args:
      weights: of any shape.
      centroids: `[K]`, in any order.

    Returns:
      int32 of the shape of `weights`. Half way between two it is the smaller one.
    """
    order = tf.argsort(centroids)
    ranked = tf.gather(centroids, order)
    rank = tf.searchsorted((ranked[1:] + ranked[:-1]) / 2, tf.reshape(weights, [-1]))
    return tf.reshape(tf.gather(order, rank), tf.shape(weights))


def clustered(weights: tf.Tensor | tf.Variable, centroids: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Returns the nearest of `centroids` `[K]` for each of `weights`, differentiable in both."""
    return _clustered(tf.convert_to_tensor(weights), tf.convert_to_tensor(centroids))


@tf.custom_gradient
def _clustered(weights, centroids):
    index = nearest(weights, centroids)

    def gradient(upstream):
        count = tf.size(centroids)
        return upstream, tf.math.unsorted_segment_mean(upstream, index, count)

    return tf.gather(centroids, index), gradient


def k_means(values: np.ndarray, clusters: int) -> np.ndarray:
    """Returns `[clusters]` centroids of `values`, sorted: of one dimension, and always the same.

    Where there are no more different values than clusters, these are the centroids, the last
    of them repeated.
    """
    values = np.sort(values.reshape(-1))
    different = np.unique(values)
    if len(different) <= clusters:
        return np.pad(different, (0, clusters - len(different)), mode="edge")
    seed = CentroidsInitializerFactory.get_centroid_initializer(CentroidInitialization.KMEANS_PLUS_PLUS)
    centroids = np.sort(seed(tf.constant(values), clusters).get_cluster_centroids().numpy())
    for _ in range(LLOYD_ITERATIONS):
        # Sorted values: a cluster is a run between two cuts, and k_means a matter of cumulated sums.
        cuts = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2, side="right")
        runs = np.split(values, cuts)
        moved = np.array([run.mean() if run.size else c for run, c in zip(runs, centroids, strict=True)])
        if np.array_equal(moved, centroids):
            break
        centroids = moved.astype(values.dtype)
    return centroids


class ClusteredConvolution(ComputedKernel, tf_keras.layers.Wrapper):
    """A convolution whose kernel consists of `clusters` values.

    Attributes:
      centroids: `[clusters]` float, trained.
    """

    def __init__(self, layer: tf_keras.layers.Conv2D, clusters: int, **kwargs: Any):
        super().__init__(layer, **{"name": f"clustered_{layer.name}"} | kwargs)
        self.clusters = clusters

    def build(self, input_shape=None):
        super().build(input_shape)
        start = k_means(self.layer.kernel.numpy(), self.clusters)
        self.centroids = self.add_weight(
            "cluster_centroids",
            shape=(self.clusters,),
            initializer=tf_keras.initializers.Constant(start),
            trainable=True,
        )

    def computed_kernel(self):
        return clustered(self.layer.kernel, self.centroids)

    def get_config(self):
        return super().get_config() | {"clusters": self.clusters}


def clusterable(twin: tf_keras.Model, clusters: int) -> tf_keras.Model:
    """Returns a copy of `twin` whose convolutions have kernels of at most `clusters` values.

    A kernel of no more weights than clusters stays as it is. Batch norms train on.

    Args:
      twin: of `keras_twin`.
      clusters: at least 2.
    """
    check_at_least("clusters", clusters, 2)

    def wrap(layer):
        few = layer.kernel.shape.num_elements() <= clusters
        return layer if few else ClusteredConvolution(layer, clusters)

    return wrapped(twin, wrap)
