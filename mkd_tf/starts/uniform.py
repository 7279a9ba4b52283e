"""Uniform selection: every layer takes evenly spaced channels of the layer of the same name.

Convolutions and batch norms of both networks are paired by name; along each axis of
kernel, bias and batch norm statistics, the small layer takes the elements
`round(linspace(0, large - 1, small))`. A prediction layer has no batch norm that
would restore its scale, so its kernel grows by `sqrt(large / small)` of its input
channels: a sum of fewer, weakly correlated terms keeps its size.

Reference: Xu et al., "Initializing Models with Larger Ones", ICLR 2024 (uniform
element selection). Departure: the scale of the prediction kernels.
"""

import keras
import numpy as np

from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.channel_selection import selected
from mkd_tf.starts.base import Inherited, Start


class Uniform(Start):
    """See the module. Layers without a partner of the same kernel size keep their random weights."""

    def __call__(self, small: Detector, large: Detector, images: np.ndarray | None = None) -> Inherited:
        del images
        theirs = {layer.name: layer for layer in large.core.layers if layer.weights}
        layers, fresh = [], []
        for layer in (layer for layer in small.core.layers if layer.weights):
            arrays = _taken(layer, theirs.get(layer.name))
            if arrays is None:
                fresh.append(layer.name)
                continue
            layer.set_weights(arrays)
            layers.append(layer.name)
        return Inherited(tuple(layers), tuple(fresh))


def _taken(layer: keras.layers.Layer, source: keras.layers.Layer | None) -> list[np.ndarray] | None:
    """Returns the weights `layer` takes of `source`; None where the two are of another form."""
    if source is None or type(source) is not type(layer) or len(source.weights) != len(layer.weights):
        return None
    arrays = []
    for ours, theirs in zip(layer.get_weights(), source.get_weights(), strict=True):
        if ours.ndim != theirs.ndim or ours.shape[:-2] != theirs.shape[:-2]:
            return None
        arrays.append(selected(theirs, ours.shape))
    if is_prediction(layer):
        arrays[0] = arrays[0] * np.sqrt(source.kernel.shape[2] / layer.kernel.shape[2])
    return arrays


def is_prediction(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a convolution without a batch norm behind it: it has a bias."""
    return isinstance(layer, keras.layers.Conv2D) and layer.use_bias and layer.trainable
