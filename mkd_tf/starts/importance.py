"""Selection by importance: every layer takes the channels that vary most and are read most.

Channels of layers that are added or passed on unchanged belong together: they form one
space, of which the small network takes the same channels everywhere. In the large
network, with gamma the scales of the batch norms that write into a space and K the
kernels of the convolutions that read from it, a channel c scores

    score_c = sqrt(mean over writers of gamma_c^2) * sqrt(mean over readers of |K_c|^2)

and the highest scores are taken, in their order. A space without a writer or without a
reader counts as 1 there. A prediction kernel grows as in uniform selection.

References: Liu et al., "Network Slimming", ICCV 2017 (gamma as a channel's importance);
Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (norms of kernels); Xu et
al., ICLR 2024, who found consistent uniform selection as good as any other.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.channel_selection import evenly_spaced
from mkd_tf.starts.base import Inherited, Start
from mkd_tf.starts.uniform import is_prediction

_WRITES = (keras.layers.Conv2D, keras.layers.Dense)


class Importance(Start):
    """See the module. Layers without a partner of the same kernel size keep their random weights."""

    def __call__(self, small: Detector, large: Detector, images: np.ndarray | None = None) -> Inherited:
        del images
        spaces = Spaces(large.core)
        theirs = {layer.name: layer for layer in large.core.layers if layer.weights}
        layers, fresh = [], []
        for layer in (layer for layer in small.core.layers if layer.weights):
            source = theirs.get(layer.name)
            if source is None or not _alike(layer, source):
                fresh.append(layer.name)
                continue
            layer.set_weights(_taken(layer, source, spaces))
            layers.append(layer.name)
        return Inherited(tuple(layers), tuple(fresh))


class Spaces:
    """The spaces of channels of a functional model, and the importance of each channel."""

    def __init__(self, core: keras.Model):
        self._parents: dict[int, int] = {}
        self._writers: dict[int, list[np.ndarray]] = {}
        self._readers: dict[int, list[np.ndarray]] = {}
        first: dict[str, tuple[Any, Any]] = {}
        for layer, inputs, output in calls(core):
            # What is shared among the levels reads and writes the same channels in all of them.
            read, written = first.setdefault(layer.name, (inputs[0], output))
            self._parents[self.of(inputs[0])] = self.of(read)
            self._parents[self.of(output)] = self.of(written)
            if not isinstance(layer, _WRITES) or isinstance(layer, keras.layers.DepthwiseConv2D):
                for tensor in inputs:
                    if len(tensor.shape) == len(output.shape) and tensor.shape[-1] == output.shape[-1]:
                        self._parents[self.of(tensor)] = self.of(output)
        for layer, inputs, output in calls(core):
            if isinstance(layer, keras.layers.BatchNormalization):
                self._writers.setdefault(self.of(output), []).append(np.square(layer.get_weights()[0]))
            elif type(layer) is keras.layers.Conv2D:
                read = np.square(layer.get_weights()[0]).sum(axis=(0, 1, 3))
                self._readers.setdefault(self.of(inputs[0]), []).append(read)

    def of(self, tensor: Any) -> int:
        """Returns the number of a tensor's space."""
        found = self._parents.setdefault(id(tensor), id(tensor))
        while found != self._parents[found]:
            found = self._parents[found]
        return found

    def chosen(self, tensor: Any, count: int) -> np.ndarray:
        """Returns which channels of a tensor a layer of `count` channels takes, `[count]` int64."""
        size = tensor.shape[-1]
        if count >= size:
            return evenly_spaced(size, count)
        ones, space = [np.ones(size)], self.of(tensor)
        written = np.mean(self._writers.get(space, ones), axis=0)
        read = np.mean(self._readers.get(space, ones), axis=0)
        return np.sort(np.argsort(-np.sqrt(written * read), kind="stable")[:count])


def calls(core: keras.Model) -> Iterator[tuple[keras.layers.Layer, list[Any], Any]]:
    """Yields every call of a layer with one output: the layer, its inputs, its output."""
    for layer in core.layers:
        for node in layer._inbound_nodes:
            if node.input_tensors and len(node.outputs) == 1:
                yield layer, list(node.input_tensors), node.outputs[0]


def _alike(layer: keras.layers.Layer, source: keras.layers.Layer) -> bool:
    if type(source) is not type(layer) or len(source.weights) != len(layer.weights):
        return False
    pairs = zip(layer.weights, source.weights, strict=True)
    return all(len(a.shape) == len(b.shape) and a.shape[:-2] == b.shape[:-2] for a, b in pairs)


def _taken(layer: keras.layers.Layer, source: keras.layers.Layer, spaces: Spaces) -> list[np.ndarray]:
    """Returns the weights that `layer` takes of `source`."""
    node = source._inbound_nodes[0]
    read, written = node.input_tensors[0], node.outputs[0]
    arrays = []
    for ours, theirs in zip(layer.get_weights(), source.get_weights(), strict=True):
        if isinstance(layer, keras.layers.DepthwiseConv2D) and ours.ndim == 4:
            arrays.append(theirs[:, :, spaces.chosen(read, ours.shape[2])])
            continue
        array = theirs[..., spaces.chosen(written, ours.shape[-1])]
        arrays.append(array[..., spaces.chosen(read, ours.shape[-2]), :] if ours.ndim == 4 else array)
    if is_prediction(layer):
        arrays[0] = arrays[0] * np.sqrt(source.kernel.shape[2] / layer.kernel.shape[2])
    return arrays
