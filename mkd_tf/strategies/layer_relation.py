"""Layer relation: the student imitates how the teacher's layers are correlated.

The relation between two layers is their Gram matrix over space, the "flow of
solution procedure" (FSP):

    G[i, j] = 1/(H W) * sum_{h,w} first[h, w, i] * second[h, w, j]

and the term the mean squared difference of student and source, over the entries
and the pairs of layers. Under the foreground mask the average over positions, and
the standardisation, are weighted: see `foreground`.

Reference: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017, Eq. 1-2.
Departures: maps are standardised per channel first (G becomes a correlation),
and errors are averaged where Eq. 2 sums, so that `weight` means the same for
every pair of detectors; the earlier map is pooled to the later one's grid; the
student's maps are adapted to the source's width.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detection.types import Array, ArraysByRole, CellWeights, Float, PerExample
from mkd_tf.strategies.base import Port, Strategy, adapter, flatten_map, standard_map
from mkd_tf.strategies.foreground import MASKS, cells_of_anchors, foreground_cells


def fsp_matrix(
    first: Float[Array, "batch _ _ c1"],
    second: Float[Array, "batch h w c2"],
    weights: CellWeights | None = None,
) -> Float[Array, "batch c1 c2"]:
    """Returns the FSP matrix of two feature maps of one network, averaged over the cells, in float32.

    Args:
      first: the earlier map.
      second: the later map, on the same grid.
      weights: of the cells, or None for equal ones.

    Raises:
      MkdError: if the maps differ in `[H, W]`.
    """
    if first.shape[1:3] != second.shape[1:3]:
        fail(
            "fsp_matrix",
            expected="two maps on one grid",
            got=f"{first.shape[1:3]} and {second.shape[1:3]}",
            do="Pool the earlier map to the later one's grid.",
        )
    a = ops.cast(flatten_map(first), "float32")
    b = ops.cast(flatten_map(second), "float32")
    total = a.shape[1]
    if weights is not None:
        a, total = a * weights, ops.sum(weights, axis=1, keepdims=True)
    return ops.matmul(ops.transpose(a, (0, 2, 1)), b) / total


def relation(
    earlier: Float[Array, "batch _ _ c1"],
    later: Float[Array, "batch h w c2"],
    weights: CellWeights | None = None,
) -> Float[Array, "batch c1 c2"]:
    """Returns the correlations of two maps' channels: the FSP matrix of the standardised maps.

    Args:
      earlier: is pooled to the grid of `later`.
      later: of the same network.
      weights: of the cells of `later`, or None for equal ones.

    Raises:
      MkdError: if the earlier map's grid is no multiple of the later's.
    """
    factor = earlier.shape[1] // later.shape[1], earlier.shape[2] // later.shape[2]
    if 0 in factor:
        fail(
            "pairs of layer_relation",
            expected="the earlier, larger map first",
            got=f"grids {earlier.shape[1:3]} and {later.shape[1:3]}",
            do="Swap the taps, as in pairs=(('C3', 'C4'),).",
        )
    if factor != (1, 1):
        earlier = ops.average_pool(ops.cast(earlier, "float32"), factor, factor, padding="valid")
    return fsp_matrix(standard_map(earlier, weights), standard_map(later, weights), weights)


def relation_loss(
    student_relation: Float[Array, "batch c1 c2"], source_relation: Float[Array, "batch c1 c2"]
) -> PerExample:
    """Returns the mean squared difference of two relations."""
    return ops.mean(ops.square(student_relation - ops.stop_gradient(source_relation)), axis=(1, 2))


@keras.saving.register_keras_serializable("mkd_tf")
class LayerRelation(Strategy):
    """FSP distillation between taps; see the module.

    >>> import numpy as np
    >>> strategy = LayerRelation(weight=0.5, pairs=(("C3", "C4"),))
    >>> ramp = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
    >>> round(float(relation(ramp, -ramp)[0, 0, 0]), 3)  # correlation of two channels
    -1.0

    Args:
      pairs: pairs of taps, each the earlier and the later one.
      mask: `none`, or `foreground` to relate the layers mostly on the target's objects.
    """

    options = ("pairs", "mask")

    def __init__(
        self,
        weight: float = 1.0,
        pairs: Sequence[Sequence[str]] = (("C3", "C4"), ("C4", "C5")),
        mask: str = "none",
        name: str = "layer_relation",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_one_of("mask of layer_relation", mask, MASKS)
        self.pairs = tuple((str(a), str(b)) for a, b in pairs)
        self.mask = mask

    def _connect(self, source: Port, target: Port) -> None:
        self._num_classes = target.num_classes
        # The target's objects on the grids of both networks, which may differ.
        self._cells = {
            (role, later): cells_of_anchors(target.anchors, port.shape(later)[:2])
            for role, port in ((self.source, source), (self.target, target))
            for _, later in self.pairs
            if self.mask == "foreground"
        }
        taps = dict.fromkeys(tap for pair in self.pairs for tap in pair)
        self.adapters = {
            tap: adapter(source.shape(tap)[-1], target.shape(tap)[-1], f"{self.name}_{tap}") for tap in taps
        }

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source = outputs[self.source]
        adapted = {tap: layer(outputs[self.target][tap]) for tap, layer in self.adapters.items()}
        terms = []
        for a, b in self.pairs:
            ours = relation(adapted[a], adapted[b], self._weights(targets, self.target, b))
            theirs = relation(source[a], source[b], self._weights(targets, self.source, b))
            terms.append(relation_loss(ours, theirs))
        return sum(terms) / len(terms)

    def _weights(self, targets: ArraysByRole, role: str, tap: str) -> Array | None:
        if self.mask == "none":
            return None
        return foreground_cells(targets[self.target]["labels"], self._num_classes, self._cells[role, tap])
