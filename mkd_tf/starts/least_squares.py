"""Layer-wise least squares: the small network reproduces chosen channels of the large one.

Unit by unit (a convolution and its batch norm), from the input on, with X the inputs
that the small unit really gets from the units already set, as patches, and Y the
chosen channels of what the large network computes at the same place before its ReLU:

    W = argmin |Xc W - Yc|^2 + ridge * tr(Xc'Xc) / n * |W|^2      (c: centred, n columns)

The batch norm then passes X W on unchanged but for the mean, which becomes Y's. A
relation between two layers of the large network is thereby kept as far as the small
one can express it, without a label and without a gradient step. Prediction layers
are fitted to the large network's class logits and box encodings in the same way.

A unit whose name the large network does not know (another block, another stem) is
fitted to what the large network has at the end of the stage of the same size.

References: He et al., "Channel Pruning for Accelerating Very Deep Neural Networks",
ICCV 2017 (layer-wise reconstruction by least squares, Eq. 4); Yim et al., CVPR 2017
(the relation between layers as the knowledge that is handed on).
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.checks import check_positive
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.channel_selection import evenly_spaced
from mkd_tf.starts.base import Inherited, Start, inputs_of
from mkd_tf.starts.uniform import Uniform, is_prediction

_BATCH = 16


class LeastSquares(Start):
    """See the module.

    Args:
      rows: how many places of the images each unit is fitted on.
      ridge: weight of the penalty, as a fraction of the inputs' mean square.
      predictions: whether the prediction layers are fitted too; they are selected otherwise.
    """

    def __init__(self, rows: int = 20_000, ridge: float = 1e-3, predictions: bool = True):
        check_positive("least_squares rows", rows)
        check_positive("least_squares ridge", ridge)
        self.rows, self.ridge, self.predictions = rows, ridge, predictions

    def __call__(self, small: Detector, large: Detector, images: np.ndarray) -> Inherited:
        chosen = Uniform()(small, large)
        ours, theirs = (inputs_of(n, images) for n in (small, large))
        units = [u for u in small.core.layers if isinstance(u, keras.layers.BatchNormalization)]
        targets = {u.name: target_of(u, large.core) for u in units}
        targets = {name: t for name, t in targets.items() if t is not None}
        values = dict(zip(targets, computed(large.core, list(targets.values()), theirs), strict=True))
        done = set(chosen.layers)
        for unit in units:
            convolution = producer(unit.input)
            if unit.name not in values or type(convolution) is not keras.layers.Conv2D:
                continue
            (inputs,) = computed(small.core, [convolution.input], ours)
            channels = evenly_spaced(values[unit.name].shape[-1], convolution.filters)
            self._fit_unit(convolution, unit, inputs, values[unit.name][..., channels])
            done |= {unit.name, convolution.name}
        if self.predictions:
            self._fit_predictions(small, large, ours, theirs)
        names = [layer.name for layer in small.core.layers if layer.weights]
        return Inherited(tuple(n for n in names if n in done), tuple(n for n in names if n not in done))

    def _fit_unit(
        self,
        convolution: keras.layers.Conv2D,
        norm: keras.layers.BatchNormalization,
        inputs: np.ndarray,
        wanted: np.ndarray,
    ) -> None:
        x, y = sampled(convolution, inputs, wanted, self.rows)
        kernel = solved(x, y, self.ridge)
        z = x @ kernel
        convolution.set_weights([kernel.reshape(convolution.kernel.shape)])
        variance = np.maximum(z.var(axis=0), 1e-8)
        gamma = np.sqrt(variance + norm.epsilon)
        norm.set_weights([gamma, y.mean(axis=0), z.mean(axis=0), variance])

    def _fit_predictions(
        self, small: Detector, large: Detector, ours: np.ndarray, theirs: np.ndarray
    ) -> None:
        """Fits every prediction layer to what the layer of its name computes in the large network."""
        known = {layer.name: layer for layer in large.core.layers}
        for layer in small.core.layers:
            if not is_prediction(layer) or layer.name not in known:
                continue
            calls, wanted = layer._inbound_nodes, known[layer.name]._inbound_nodes
            pairs = [
                (call.input_tensors[0], target.outputs[0])
                for call, target in zip(calls, wanted, strict=False)
                if call.outputs[0].shape == target.outputs[0].shape
            ]
            if len(pairs) != len(calls):
                continue
            inputs = computed(small.core, [a for a, _ in pairs], ours)
            outputs = computed(large.core, [b for _, b in pairs], theirs)
            share = self.rows // len(pairs)
            parts = [sampled(layer, a, b, share) for a, b in zip(inputs, outputs, strict=True)]
            x, y = (np.concatenate(p) for p in zip(*parts, strict=True))
            kernel = solved(x, y, self.ridge)
            bias = y.mean(axis=0) - x.mean(axis=0) @ kernel
            layer.set_weights([kernel.reshape(layer.kernel.shape), bias])


def computed(core: keras.Model, tensors: Sequence[keras.KerasTensor], images: np.ndarray) -> list[np.ndarray]:
    """Returns the values of `tensors` of a core for scaled images, in inference mode."""
    # A dict, because a list of one tensor comes back as the tensor.
    model = keras.Model(core.input, {str(i): tensor for i, tensor in enumerate(tensors)})
    parts = [model(images[i : i + _BATCH], training=False) for i in range(0, len(images), _BATCH)]
    return [np.concatenate([part[str(i)].numpy() for part in parts]) for i in range(len(tensors))]


def producer(tensor: keras.KerasTensor) -> keras.layers.Layer:
    """Returns the layer that a tensor of a functional model comes from."""
    return tensor._keras_history.operation


def target_of(unit: keras.layers.BatchNormalization, core: keras.Model) -> keras.KerasTensor | None:
    """Returns what `unit` shall compute: a tensor of the large core, of the same height and width.

    That is the batch norm of the same name; else, the last value before a ReLU at that
    size in the backbone, which is where a stage ends. None where there is neither.
    """
    size = unit.output.shape[1:3]
    names = {layer.name: layer for layer in core.layers}
    same = names.get(unit.name)
    if same is not None and same.output.shape[1:3] == size:
        return same.output
    ends = [
        layer.input
        for layer in core.layers
        if isinstance(layer, keras.layers.ReLU)
        and layer.output.shape[1:3] == size
        and not layer.name.startswith(("pyramid", "head"))
    ]
    return ends[-1] if ends else None


def sampled(
    convolution: keras.layers.Conv2D, inputs: np.ndarray, outputs: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns patches `[R, kh * kw * C]` that a convolution reads, and `[R, D]` outputs at the same places.

    R is at most `rows`; the places are the same for the same shapes.
    """
    (kh, kw), (sh, sw) = convolution.kernel_size, convolution.strides
    places = int(np.prod(outputs.shape[:3]))
    picked = np.sort(np.random.default_rng(0).permutation(places)[:rows])
    per_image = outputs.shape[1] * outputs.shape[2]
    x, y = [], []
    for i in range(len(inputs)):
        mine = picked[(picked >= i * per_image) & (picked < (i + 1) * per_image)] - i * per_image
        if not len(mine):
            continue
        patches = tf.image.extract_patches(
            inputs[i : i + 1], [1, kh, kw, 1], [1, sh, sw, 1], [1, 1, 1, 1], convolution.padding.upper()
        ).numpy()
        x.append(patches.reshape(per_image, -1)[mine])
        y.append(outputs[i].reshape(per_image, -1)[mine])
    return np.concatenate(x).astype("float64"), np.concatenate(y).astype("float64")


def solved(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Returns the ridge regression of centred `y` `[R, D]` on centred `x` `[R, n]`: `[n, D]`."""
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    gram = xc.T @ xc
    penalty = ridge * np.trace(gram) / len(gram) + 1e-12
    return np.linalg.solve(gram + penalty * np.eye(len(gram)), xc.T @ yc)
