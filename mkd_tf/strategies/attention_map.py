"""Attention map: the student imitates where the teacher's hidden layers are active.

The attention map of a hidden layer F is Q = sum over channels of |F|^p, divided
by its L2 norm over space. Two forms of the distance are in the literature:

    code    sum over space of (Q_S - Q_T)^2     = 2 - 2 cos(Q_S, Q_T)
    paper   the square root of that             (Eq. 2 of the reference)

Reference: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR
2017; the authors' published code squares what Eq. 2 does not. Departure: the
code's mean over positions is a sum here, so that every level weighs the same;
p is 2. Taps are compared on equal grids and need no adapter. Under the foreground
mask both maps are weighted before the norm: see `foreground`.

A map that is active everywhere alike has a cosine near 1 with any other, and is nearer to
the source's map than the map of another image is. Centred maps, Q less its spatial mean
before the norm, compare where a layer is more active than elsewhere: the cosine becomes
Pearson's correlation, and a uniform map becomes 0.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_one_of
from mkd_tf.detection.types import Array, ArraysByRole, CellWeights, Float, Map, OtherMap, PerExample
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.foreground import MASKS, Foreground
from mkd_tf.strategies.maps import flatten_map
from mkd_tf.strategies.matching import pair_levels


def attention_map(
    features: Map, p: float = 2.0, weights: CellWeights | None = None, centred: bool = False
) -> Float[Array, "batch h*w"]:
    """Returns where a layer is active: a map of unit L2 norm, float32. A zero map stays zero.

    Args:
      features: of the layer.
      p: exponent of the activations.
      weights: of the cells, or None for equal ones.
      centred: whether the weighted mean is subtracted; a uniform map is zero then.
    """
    # Divided by a largest value: squares of squares overflow at extreme features.
    cells = ops.cast(flatten_map(features), "float32")
    if p == 2:
        energy = ops.sum(ops.square(cells), axis=-1)
        largest = ops.stop_gradient(ops.max(energy, axis=1, keepdims=True))
        energy = energy / ops.maximum(largest, 1e-24)
    else:
        magnitude = ops.abs(cells)
        largest = ops.stop_gradient(ops.max(magnitude, axis=(1, 2), keepdims=True))
        energy = ops.sum(ops.power(magnitude / ops.maximum(largest, 1e-12), p), axis=-1)
    shares = ops.ones_like(energy) if weights is None else weights[..., 0]
    least = 1e-12
    if centred:
        mean = ops.sum(energy * shares, axis=-1, keepdims=True) / ops.sum(shares, axis=-1, keepdims=True)
        # Rounding leaves some of a uniform map: it must not be blown up to norm 1.
        least += 1e-6 * ops.stop_gradient(ops.sum(ops.square(energy * shares), axis=-1, keepdims=True))
        energy = energy - mean
    energy = energy * shares
    return energy * ops.rsqrt(ops.sum(ops.square(energy), axis=-1, keepdims=True) + least)


def attention_loss(
    student_features: OtherMap,
    source_features: OtherMap,
    p: float = 2.0,
    form: str = "code",
    weights: CellWeights | None = None,
    centred: bool = False,
) -> PerExample:
    """Returns the distance of two attention maps: 0..2 as `code`, 0..4 if centred; its root as `paper`."""
    source = ops.stop_gradient(attention_map(source_features, p, weights, centred))
    ours = attention_map(student_features, p, weights, centred)
    squared = ops.sum(ops.square(ours - source), axis=-1)
    # The root's gradient is infinite at 0, where source and student agree.
    return squared if form == "code" else ops.sqrt(squared + 1e-12) - 1e-6


@keras.saving.register_keras_serializable("mkd_tf")
class AttentionMap(Strategy):
    """Attention transfer between taps of equal grid; see the module.

    >>> from keras import ops
    >>> strategy = AttentionMap(weight=0.1, taps=("C3", "C4"), rise=0.05)
    >>> active = ops.reshape(ops.convert_to_tensor([1.0, 0.0, 0.0, 2.0]), (1, 2, 2, 1))
    >>> float(attention_loss(active, 3.0 * active)[0])  # a factor changes nothing
    0.0

    Args:
      taps: which taps take part.
      p: exponent of the activations.
      form: `code` or `paper`.
      mask: `none`, or `foreground` to compare mostly on the target's objects.
      centred: whether maps are compared without their spatial mean.
    """

    options = ("taps", "p", "form", "mask", "centred")

    def __init__(
        self,
        weight: float = 1.0,
        taps: Sequence[str] = ("C3", "C4", "C5"),
        p: float = 2.0,
        form: str = "code",
        mask: str = "none",
        centred: bool = False,
        name: str = "attention_map",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_one_of("form of attention_map", form, ("code", "paper"))
        check_one_of("mask of attention_map", mask, MASKS)
        self.taps, self.p, self.form, self.mask = tuple(taps), p, form, mask
        self.centred = centred

    def _connect(self, source: Port, target: Port) -> None:
        self._pairs = pair_levels(source, target, self.taps)
        grids = [target.shape(t)[:2] for _, t in self._pairs]
        self._foreground = Foreground(self.mask, target.anchors, target.num_classes, grids)

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        terms = []
        for s, t in self._pairs:
            weights = self._foreground.weights(targets, self.target, tuple(target[t].shape[1:3]))
            terms.append(attention_loss(target[t], source[s], self.p, self.form, weights, self.centred))
        return sum(terms) / len(terms)
