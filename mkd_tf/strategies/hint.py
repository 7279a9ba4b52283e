"""Hint: the student imitates features of a mid-sized network, the guide, through adapters.

A transition adapter A brings the student's pyramid map to the source's width, both
maps are standardised per channel, and the term is

    H = sum_s w_s * (A(F_S)[s] - F_G[s])^2 / (2 * sum_s w_s),  averaged over channels

which is one minus the Pearson correlation of each channel, and computed from the maps'
moments, see `moments`. The weights w are 1 on
cells that are assigned to an object and `background` elsewhere. With source `teacher`
and target `guide` the same term trains the guide.

With `components=k` the source's map is projected on its k principal components first, so
that a narrow network is asked for what varies most. Their basis is measured on the training
images: after each of the first `OBSERVED` steps the covariance of the channels within the
images is summed up, and the basis moves one step of orthogonal iteration on it (Golub and
Van Loan, Matrix Computations, Sec. 8.2: it converges to the eigenvectors in order); then
both stay. Covariance, basis and the number of steps are weights of the strategy, so that a
run which goes on from a backup repeats them exactly.

The term is a mean over the levels, or with `levels="objects"` weighted by each level's
share of the assigned weight in the image; equally in an image without objects.

References: Romero et al., FitNets, ICLR 2015 (hints); Mirzadeh et al., "Improved
Knowledge Distillation via Teacher Assistant", AAAI 2020 (the intermediate
network); Cao et al., PKD, NeurIPS 2022 (the scale-free distance). Departure: the
correlation is weighted by the foreground, since most cells of an image are empty.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_at_least, check_one_of, check_positive, fail
from mkd_tf.detection.types import (
    Array,
    ArraysByRole,
    Bool,
    CellWeights,
    Float,
    Int,
    Map,
    OtherMap,
    PerAnchor,
    PerExample,
)
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.maps import adapter, flatten_map
from mkd_tf.strategies.matching import level_cells, pair_levels
from mkd_tf.strategies.moments import Channels

LEVELS = ("equal", "objects")
OBSERVED = 200
"""Training steps in which principal components are measured."""


def hint_loss(
    student_features: OtherMap,
    source_features: Map,
    weights: CellWeights,
    kernel: Float[Array, "_ c"] | None = None,
) -> PerExample:
    """Returns one minus the weighted Pearson correlation, averaged over channels: 0..2.

    Args:
      student_features: of as many channels as the source's, or before the adapter.
      source_features: of the teacher or guide.
      weights: of the cells, positive.
      kernel: of the adapter.
    """
    student = Channels(flatten_map(student_features), weights, kernel)
    source = Channels(ops.stop_gradient(flatten_map(source_features)), weights)
    # The mean of the squared difference of two standardised channels, halved.
    each = (student.variances + source.variances) / 2 - student.paired(source)
    return ops.mean(each, axis=-1)


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


def level_shares(
    weights: PerAnchor, level_counts: Sequence[int], levels: Sequence[int]
) -> Float[Array, "batch levels"]:
    """Returns the levels' shares of the weight that objects have in them; equal ones where there is none.

    Args:
      weights: assigned to the anchors, 0 for the background.
      level_counts: numbers of anchors of every level.
      levels: indices of the levels that share.
    """
    ends = np.cumsum(level_counts)
    found = ops.stack(
        [ops.sum(weights[:, ends[i] - level_counts[i] : ends[i]], axis=1) for i in levels], axis=1
    )
    total = ops.sum(found, axis=1, keepdims=True)
    return ops.where(total > 0, found / ops.maximum(total, 1e-12), 1.0 / len(levels))


def iterated(basis: Float[Array, "c k"], covariance: Float[Array, "c c"]) -> Float[Array, "c k"]:
    """Returns the basis after a step of orthogonal iteration towards the largest eigenvectors."""
    trace = ops.maximum(ops.trace(covariance), 1e-12)
    turned, triangle = ops.qr(ops.matmul(covariance / trace, basis))
    # Without jumps from one sign to the other.
    return turned * ops.where(ops.diagonal(triangle) < 0, -1.0, 1.0)


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
      components: how many principal components of the source's channels are imitated, at
        most as many as it has; 0 for the channels themselves.
      levels: `equal`, or `objects` for levels weighted by where objects are.
    """

    options = ("taps", "background", "components", "levels")

    def __init__(
        self,
        weight: float = 1.0,
        source: str = "guide",
        taps: Sequence[str] = ("P3", "P4", "P5"),
        background: float = 0.1,
        components: int = 0,
        levels: str = "equal",
        name: str = "hint",
        **kwargs: Any,
    ):
        super().__init__(weight, source, name=name, **kwargs)
        check_positive("background of hint", background)
        check_at_least("components of hint", components, 0)
        check_one_of("levels of hint", levels, LEVELS)
        self.taps, self.background = tuple(taps), background
        self.components, self.levels = components, levels

    def _connect(self, source: Port, target: Port) -> None:
        self._levels = level_cells(self.name, target, self.taps)
        self._pairs = pair_levels(source, target, self.taps)
        self._num_classes = target.num_classes
        widths = {t: source.shape(s)[-1] for s, t in self._pairs}
        self.adapters = {
            t: adapter(self.components or width, target.shape(t)[-1], f"{self.name}_{t}")
            for t, width in widths.items()
        }
        if self.components:
            self._connect_components(widths)

    def _connect_components(self, widths: dict[str, int]) -> None:
        if self.components > min(widths.values()):
            fail(
                f"components of {self.name}",
                expected=f"at most {min(widths.values())}, the width of the {self.source}'s maps",
                got=str(self.components),
                do="Lower components, or use 0 for the channels themselves.",
            )
        # Every replica computes the same value, from sums over all of them.
        options = {"dtype": "float32", "trainable": False, "aggregation": "only_first_replica"}
        start = keras.initializers.Orthogonal(seed=0)
        self._observed = self.add_weight((), "zeros", name="observed", **options)
        self._covariances, self._bases = {}, {}
        for t, width in widths.items():
            shape = (width, self.components)
            self._bases[t] = self.add_weight(shape, start, name=f"basis_{t}", **options)
            self._covariances[t] = self.add_weight((width, width), "zeros", name=f"covariance_{t}", **options)

    def observing(self) -> Bool[Array, ""] | None:
        return ops.less(self._observed, OBSERVED) if self.components else None

    def observe(
        self, outputs: ArraysByRole, total: Callable[[Array], Array], is_now: Bool[Array, ""]
    ) -> None:
        for s, t in self._pairs:
            cells = ops.stop_gradient(ops.cast(flatten_map(outputs[self.source][s]), "float32"))
            cells = cells - ops.mean(cells, axis=1, keepdims=True)
            rows = ops.reshape(cells, (-1, cells.shape[-1]))
            covariance, basis = (ops.convert_to_tensor(x[t]) for x in (self._covariances, self._bases))
            summed = covariance + total(ops.matmul(ops.transpose(rows), rows))
            self._covariances[t].assign(ops.where(is_now, summed, covariance))
            self._bases[t].assign(ops.where(is_now, iterated(basis, summed), basis))
        self._observed.assign(self._observed + ops.cast(is_now, "float32"))

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        truth = targets[self.target]
        levels = foreground(truth["labels"], self._num_classes, self._levels, self.background)
        weights = dict(zip(self.taps, levels, strict=True))
        terms = []
        for s, t in self._pairs:
            theirs = source[s]
            if self.components:
                theirs = ops.matmul(ops.cast(theirs, "float32"), ops.convert_to_tensor(self._bases[t]))
            terms.append(hint_loss(target[t], theirs, weights[t], self.adapters[t].kernel[0, 0]))
        if self.levels == "equal":
            return sum(terms) / len(terms)
        paired = [self.taps.index(t) for _, t in self._pairs]
        shares = level_shares(truth["weights"], [count for count, _ in self._levels], paired)
        return ops.sum(ops.stack(terms, axis=1) * shares, axis=1)
