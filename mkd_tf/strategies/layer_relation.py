"""Layer relation: the student imitates how the teacher's features *flow*.

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
student's maps pass an adapter to the source's width.
"""

import keras
from keras import ops

from mkd_tf.checks import check_one_of, fail
from mkd_tf.strategies.base import Port, Strategy, adapter, flatten_map, standardize
from mkd_tf.strategies.foreground import MASKS, cells_of_anchors, foreground_cells


def fsp_matrix(first, second, weights=None):
    """Returns the FSP matrix of two feature maps of one network.

    Args:
      first: `[B, H, W, C1]` float, the earlier map. H and W are static.
      second: `[B, H, W, C2]` float, the later map, on the same grid.
      weights: `[B, H * W, 1]` float of the positions, or None for equal ones.

    Returns:
      `[B, C1, C2]` float32, averaged over the `H * W` positions.

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


def relation(earlier, later, weights=None):
    """FSP matrix of standardised maps, the earlier pooled to the later's grid: correlations.

    Args:
      earlier, later: `[B, h, w, c]` float.
      weights: `[B, cells of later, 1]` float, or None for equal ones.

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

    def scaled(x):
        return ops.reshape(standardize(flatten_map(x), weights), (-1, *x.shape[1:]))

    return fsp_matrix(scaled(earlier), scaled(later), weights)


def relation_loss(student_relation, source_relation):
    """Mean squared difference of two `[B, C1, C2]` relations: `[B]`."""
    return ops.mean(ops.square(student_relation - ops.stop_gradient(source_relation)), axis=(1, 2))


@keras.saving.register_keras_serializable("mkd_tf")
class LayerRelation(Strategy):
    """FSP distillation between taps; see the module.

    Args:
      pairs: pairs of taps, each the earlier and the later one.
      mask: `none`, or `foreground` to relate the layers where the target's objects are.
    """

    def __init__(
        self,
        weight: float = 1.0,
        pairs=(("C3", "C4"), ("C4", "C5")),
        mask: str = "none",
        name="layer_relation",
        **kwargs,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_one_of("mask of layer_relation", mask, MASKS)
        self.pairs = tuple((str(a), str(b)) for a, b in pairs)
        self.mask = mask

    def _connect(self, source: Port, target: Port) -> None:
        self._num_classes = target.num_classes
        # The same objects on the grids of both networks, which may differ.
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

    def call(self, outputs, targets):
        source = outputs[self.source]
        adapted = {tap: layer(outputs[self.target][tap]) for tap, layer in self.adapters.items()}
        terms = []
        for a, b in self.pairs:
            ours = relation(adapted[a], adapted[b], self._weights(targets, self.target, b))
            theirs = relation(source[a], source[b], self._weights(targets, self.source, b))
            terms.append(relation_loss(ours, theirs))
        return sum(terms) / len(terms)

    def _weights(self, targets, role: str, tap: str):
        if self.mask == "none":
            return None
        return foreground_cells(targets[self.target]["labels"], self._num_classes, self._cells[role, tap])

    def get_config(self):
        return super().get_config() | {"pairs": self.pairs, "mask": self.mask}
