"""Hint: the student imitates features of a mid-sized network, the guide, through adapters.

A transition adapter A brings the student's pyramid map to the source's width, both
maps are standardised per channel, and the term is

    H = sum_s w_s * (A(F_S)[s] - F_G[s])^2 / (2 * sum_s w_s),  averaged over channels

which is one minus the Pearson correlation of each channel. The weights w are 1 on
cells that are assigned to an object and `background` elsewhere. With source `teacher`
and target `guide` the same term trains the guide.

References: Romero et al., FitNets, ICLR 2015 (hints); Mirzadeh et al., "Improved
Knowledge Distillation via Teacher Assistant", AAAI 2020 (the intermediate
network); Cao et al., PKD, NeurIPS 2022 (the scale-free distance). Departure: the
correlation is weighted by the foreground, since most cells of an image are empty.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_positive, fail
from mkd_tf.detection.types import Array, ArraysByRole, CellWeights, Float, Int, Map, PerExample
from mkd_tf.strategies.base import Port, Strategy, adapter, flatten_map, pair_levels, standardize


def hint_loss(student_features: Map, source_features: Map, weights: CellWeights) -> PerExample:
    """Returns one minus the weighted Pearson correlation, averaged over channels: 0..2.

    Args:
      student_features: after the adapter.
      source_features: of the teacher or guide.
      weights: of the cells, positive.
    """
    student = standardize(flatten_map(student_features), weights)
    source = ops.stop_gradient(standardize(flatten_map(source_features), weights))
    squared = ops.mean(ops.square(student - source), axis=-1, keepdims=True)
    return ops.sum(squared * weights, axis=(1, 2)) / (2 * ops.sum(weights, axis=(1, 2)))


def foreground(
    labels: Int[Array, "batch anchors"],
    num_classes: int,
    level_counts: Sequence[tuple[int, int]],
    background: float,
) -> list[Float[Array, "batch _ 1"]]:
    """Returns weights of each level's cells: 1 on cells of an object, else `background`.

    Args:
      labels: assigned to the anchors; the background's is `num_classes`.
      num_classes: C.
      level_counts: numbers of anchors and of cells of each level.
      background: weight of a cell without an object.
    """
    is_object = ops.cast(ops.less(labels, num_classes), "float32")
    weights, start = [], 0
    for count, cells in level_counts:
        level = ops.reshape(is_object[:, start : start + count], (-1, cells, count // cells))
        weights.append(ops.maximum(ops.max(level, axis=-1, keepdims=True), background))
        start += count
    return weights


@keras.saving.register_keras_serializable("mkd_tf")
class Hint(Strategy):
    """Feature hints through transition adapters; see the module.

    >>> import numpy as np
    >>> hint = Hint(weight=0.5, source="guide", taps=("P3", "P4", "P5"))
    >>> maps = np.float32([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]]).reshape(2, 1, 2, 2, 1)
    >>> round(float(hint_loss(maps[0], maps[1], np.ones((1, 4, 1), "float32"))[0]), 3)  # correlation -1
    2.0

    Args:
      taps: pyramid taps, in the order of the anchors' levels.
      background: weight of cells without an object, above 0.
    """

    options = ("taps", "background")

    def __init__(
        self,
        weight: float = 1.0,
        source: str = "guide",
        taps: Sequence[str] = ("P3", "P4", "P5"),
        background: float = 0.1,
        name: str = "hint",
        **kwargs: Any,
    ):
        super().__init__(weight, source, name=name, **kwargs)
        check_positive("background of hint", background)
        self.taps, self.background = tuple(taps), background

    def _connect(self, source: Port, target: Port) -> None:
        levels = len(target.anchors.level_counts)
        if len(self.taps) != levels:
            fail(
                f"taps of {self.name}",
                expected=f"one for each of the {levels} levels of anchors",
                got=", ".join(self.taps),
                do="Name one tap per level, as in taps=('P3', 'P4', 'P5').",
            )
        self._pairs = pair_levels(source, target, self.taps)
        cells = [target.shape(tap)[0] * target.shape(tap)[1] for tap in self.taps]
        self._levels = tuple(zip(target.anchors.level_counts, cells, strict=True))
        self._num_classes = target.num_classes
        self.adapters = {
            t: adapter(source.shape(s)[-1], target.shape(t)[-1], f"{self.name}_{t}") for s, t in self._pairs
        }

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        labels = targets[self.target]["labels"]
        levels = foreground(labels, self._num_classes, self._levels, self.background)
        weights = dict(zip(self.taps, levels, strict=True))
        terms = [hint_loss(self.adapters[t](target[t]), source[s], weights[t]) for s, t in self._pairs]
        return sum(terms) / len(terms)
