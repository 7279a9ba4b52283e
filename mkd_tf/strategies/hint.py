"""Guide: a mid-sized network between teacher and student gives hints on its features.

The student's pyramid map passes a transition adapter A to the source's width,
both maps are standardised per channel, and the term is

    H = sum_s w_s * (A(F_S)[s] - F_G[s])^2 / (2 * sum_s w_s),  averaged over channels

which is one minus the Pearson correlation of each channel. The weights w are 1 on
cells that answer for an object and `background` elsewhere. With source `teacher`
the same term trains the guide itself.

References: Romero et al., FitNets, ICLR 2015 (hints); Mirzadeh et al., "Improved
Knowledge Distillation via Teacher Assistant", AAAI 2020 (the intermediate
network); Cao et al., PKD, NeurIPS 2022 (the scale-free distance). Departure: the
correlation is weighted by the foreground, since most cells of an image are empty.
"""

import keras
from keras import ops

from mkd_tf.checks import check_positive, fail
from mkd_tf.strategies.base import Port, Strategy, adapter, flatten_map, pair_levels, standardize


def hint_loss(student_features, source_features, weights):
    """One minus the weighted Pearson correlation, averaged over channels.

    Args:
      student_features: `[B, h, w, c]` float, after the adapter.
      source_features: `[B, h, w, c]` float.
      weights: `[B, h * w, 1]` float, positive.

    Returns:
      `[B]` float32 in 0..2.
    """
    student = standardize(flatten_map(student_features), weights)
    source = ops.stop_gradient(standardize(flatten_map(source_features), weights))
    squared = ops.mean(ops.square(student - source), axis=-1, keepdims=True)
    return ops.sum(squared * weights, axis=(1, 2)) / (2 * ops.sum(weights, axis=(1, 2)))


def foreground(labels, num_classes: int, level_counts, background: float):
    """Weights of each level's cells from the assigned labels `[B, N]`.

    Returns:
      One `[B, cells, 1]` float32 per level: 1 on cells of an object, else `background`.
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

    Args:
      taps: pyramid taps, in the order of the anchors' levels.
      background: weight of cells without an object, above 0.
    """

    def __init__(
        self,
        weight: float = 1.0,
        source="guide",
        taps=("P3", "P4", "P5"),
        background=0.1,
        name="hint",
        **kwargs,
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

    def call(self, outputs, targets):
        source, target = outputs[self.source], outputs[self.target]
        labels = targets[self.target]["labels"]
        weights = dict(
            zip(self.taps, foreground(labels, self._num_classes, self._levels, self.background), strict=True)
        )
        terms = [hint_loss(self.adapters[t](target[t]), source[s], weights[t]) for s, t in self._pairs]
        return sum(terms) / len(terms)

    def get_config(self):
        return super().get_config() | {"taps": self.taps, "background": self.background}
