"""Feature maps as strategies compare them: flat, standardised, adapted in width."""

from typing import Any

import keras
from keras import ops

from mkd_tf.detection.types import Array, CellWeights, Float, Map


def standardize(
    features: Float[Array, "batch cells c"], weights: Float[Array, "#batch cells 1"] | None = None
) -> Float[Array, "batch cells c"]:
    """Returns features of mean 0 and variance 1 over space in every channel of every example, in float32.

    A channel counts as constant and becomes 0 if its variance is below a share of 1e-6
    of the map's mean square. It is a share so that a factor on the features changes nothing.

    Args:
      features: of the cells of a map.
      weights: of the cells, or None for equal ones.
    """
    epsilon = 1e-6
    features = ops.cast(features, "float32")
    weights = ops.ones_like(features[..., :1]) if weights is None else weights
    total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), epsilon)
    mean = ops.sum(features * weights, axis=1, keepdims=True) / total
    centered = features - mean
    variance = ops.sum(ops.square(centered) * weights, axis=1, keepdims=True) / total
    energy = ops.stop_gradient(ops.mean(ops.square(features), axis=(1, 2), keepdims=True))
    return centered * ops.rsqrt(variance + epsilon * energy + 1e-12)


def flatten_map(features: Map) -> Float[Array, "batch h*w c"]:
    """Returns the cells of a map, row by row."""
    _, height, width, channels = features.shape
    return ops.reshape(features, (-1, height * width, channels))


def standard_map(features: Map, weights: CellWeights | None = None) -> Map:
    """Returns `standardize` of a map, as a map."""
    return ops.reshape(standardize(flatten_map(features), weights), (-1, *features.shape[1:]))


def adapter(channels: int, input_channels: int, name: str, **options: Any) -> keras.layers.Layer:
    """Returns a built 1x1 convolution that maps features to `channels`.

    It has no bias by default, which would vanish where the map is standardised.
    """
    layer = keras.layers.Conv2D(channels, 1, **{"use_bias": False, "name": name, **options})
    layer.build((None, None, None, input_channels))
    return layer


def fixed_projection(channels: int, factor: int, name: str) -> keras.layers.Layer:
    """Returns a fixed 1x1 convolution to `factor` orthonormal channels, the same in every run."""
    layer = adapter(factor, channels, name, kernel_initializer=keras.initializers.Orthogonal(seed=0))
    layer.trainable = False
    return layer
