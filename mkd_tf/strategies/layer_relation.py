"""Layer relation: the student imitates how the teacher's layers are correlated.

The relation between two layers is their Gram matrix over space, the "flow of
solution procedure" (FSP):

    G[i, j] = 1/(H W) * sum_{h,w} first[h, w, i] * second[h, w, j]

and the term the mean squared difference of student and source, over the entries
and the pairs of layers. Under the foreground mask the average over positions, and
the standardisation, are weighted: see `foreground`.

Networks differ in width. A trained adapter on the student's maps can learn the relation in
the student's place; a fixed one cannot. `selected` compares the student's channels with as
many evenly spaced ones of the source, those that the start `uniform` hands on; `projected`
with a random orthonormal projection of the source's standardised channels. (Where the
student is wider, its channels are reduced.) The form `svd` needs no adapters: see
`singular_vectors`.

Reference: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017, Eq. 1-2.
Departures: maps are standardised per channel first (G becomes a correlation),
and errors are averaged where Eq. 2 sums, so that `weight` means the same for
every pair of detectors; the earlier map is pooled to the later one's grid. The
correlation is computed from the maps' moments: see `moments`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_at_least, check_one_of, fail
from mkd_tf.detection.types import Array, Arrays, ArraysByRole, CellWeights, Float, PerExample
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.foreground import MASKS, Foreground
from mkd_tf.strategies.maps import adapter, fixed_projection, flatten_map, standard_map, standardize
from mkd_tf.strategies.moments import Channels
from mkd_tf.strategies.singular_vectors import singular_relation_loss

FORMS = ("fsp", "svd")
ADAPTERS = ("trained", "selected", "projected")


def pooled(features: Float[Array, "batch _ _ c"], grid: tuple[int, ...]) -> Float[Array, "batch _ _ c"]:
    """Returns a map averaged over the cells of a coarser grid.

    Raises:
      MkdError: if the grid is finer than the map's own.
    """
    factor = features.shape[1] // grid[0], features.shape[2] // grid[1]
    if 0 in factor:
        fail(
            "pairs of layer_relation",
            expected="the earlier, larger map first",
            got=f"grids {tuple(features.shape[1:3])} and {tuple(grid)}",
            do="Swap the taps, as in pairs=(('C3', 'C4'),).",
        )
    if factor == (1, 1):
        return features
    return ops.average_pool(ops.cast(features, "float32"), factor, factor, padding="valid")


def relation(
    earlier: Float[Array, "batch _ _ c1"],
    later: Float[Array, "batch h w c2"],
    weights: CellWeights | None = None,
) -> Float[Array, "batch c1 c2"]:
    """Returns the FSP matrix of the standardised maps, `earlier` pooled to the grid of `later`."""
    first, second = _channels((earlier, later), weights)
    return first.correlations(second)


def _channels(
    maps: tuple[Array, Array],
    weights: Array | None,
    kernels: tuple[Array | None, Array | None] = (None, None),
) -> list[Channels]:
    # An adapter without bias and the mean over cells can change places.
    on_grid = pooled(maps[0], tuple(maps[1].shape[1:3])), maps[1]
    return [Channels(flatten_map(x), weights, k) for x, k in zip(on_grid, kernels, strict=True)]


def relation_loss(
    earlier: Float[Array, "batch _ _ c1"],
    later: Float[Array, "batch h w c2"],
    source_relation: Float[Array, "batch k1 k2"],
    weights: CellWeights | None = None,
    kernels: tuple[Float[Array, "c1 k1"] | None, Float[Array, "c2 k2"] | None] = (None, None),
) -> PerExample:
    """Returns the mean squared difference of the student's relation and the source's.

    Args:
      earlier, later: of the student.
      source_relation: as `relation` returns it.
      weights: of the cells of `later`, or None for equal ones.
      kernels: of the maps' adapters.
    """
    first, second = _channels((earlier, later), weights, kernels)
    return first.distance(second, ops.stop_gradient(source_relation))


@keras.saving.register_keras_serializable("mkd_tf")
class LayerRelation(Strategy):
    """Distillation of relations between taps; see the module.

    >>> import numpy as np
    >>> strategy = LayerRelation(weight=0.5, pairs=(("C3", "C4"),))
    >>> ramp = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
    >>> round(float(relation(ramp, -ramp)[0, 0, 0]), 3)  # correlation of two channels
    -1.0

    Args:
      pairs: pairs of taps, each the earlier and the later one.
      mask: `none`, or `foreground` to relate the layers mostly on the target's objects.
      form: `fsp`, or `svd` for singular vectors.
      rank: how many singular vectors are related.
      adapter: between the widths, `trained`, `selected` or `projected`; of the fsp form only.
    """

    options = ("pairs", "mask", "form", "rank", "adapter")

    def __init__(
        self,
        weight: float = 1.0,
        pairs: Sequence[Sequence[str]] = (("C3", "C4"), ("C4", "C5")),
        mask: str = "none",
        form: str = "fsp",
        rank: int = 4,
        adapter: str = "trained",
        name: str = "layer_relation",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_one_of("mask of layer_relation", mask, MASKS)
        check_one_of("form of layer_relation", form, FORMS)
        check_one_of("adapter of layer_relation", adapter, ADAPTERS)
        check_at_least("rank of layer_relation", rank, 1)
        self.pairs = tuple((str(a), str(b)) for a, b in pairs)
        self.mask, self.form, self.rank, self.adapter = mask, form, rank, adapter

    def _connect(self, source: Port, target: Port) -> None:
        taps = dict.fromkeys(tap for pair in self.pairs for tap in pair)
        widths = {tap: (source.shape(tap)[-1], target.shape(tap)[-1]) for tap in taps}
        grids = [port.shape(later)[:2] for port in (source, target) for _, later in self.pairs]
        self.adapters: dict[str, keras.layers.Layer] = {}
        if self.form == "svd":
            # Singular vectors are compared cell by cell: the coarser of both grids.
            common = {b: tuple(map(min, source.shape(b), target.shape(b)))[:2] for _, b in self.pairs}
            for a, b in self.pairs:
                _check_multiples(
                    [port.shape(tap)[:2] for port in (source, target) for tap in (a, b)], common[b]
                )
            self._grids, grids = common, [*common.values()]
        elif self.adapter == "trained":
            self.adapters = {tap: adapter(*w, f"{self.name}_{tap}") for tap, w in widths.items()}
        elif self.adapter == "projected":
            self.adapters = {
                tap: fixed_projection(max(w), min(w), f"{self.name}_{tap}")
                for tap, w in widths.items()
                if w[0] != w[1]
            }
        self._foreground = Foreground(self.mask, target.anchors, target.num_classes, grids)

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        relate = self._singular_relation if self.form == "svd" else self._fsp_relation
        return sum(relate(source, target, targets, a, b) for a, b in self.pairs) / len(self.pairs)

    def _fsp_relation(
        self, source: Arrays, target: Arrays, targets: ArraysByRole, a: str, b: str
    ) -> PerExample:
        (early, our_early), (late, our_late) = (
            self._of_equal_width(source[tap], target[tap], tap) for tap in (a, b)
        )
        is_trained = self.adapter == "trained"
        first, second = (self.adapters[tap].kernel[0, 0] if is_trained else None for tap in (a, b))
        weights = [
            self._foreground.weights(targets, self.target, tuple(later.shape[1:3]))
            for later in (late, our_late)
        ]
        goal = relation(early, late, weights[0])
        return relation_loss(our_early, our_late, goal, weights[1], (first, second))

    def _of_equal_width(self, theirs: Array, ours: Array, tap: str) -> tuple[Array, Array]:
        """Returns the source's and the target's map, the wider one reduced by a fixed adapter."""
        if self.adapter == "trained":
            return theirs, ours
        width = min(theirs.shape[-1], ours.shape[-1])

        def reduced(features: Array) -> Array:
            if features.shape[-1] == width:
                return features
            if self.adapter == "projected":
                return self.adapters[tap](standard_map(features))
            chosen = np.round(np.linspace(0, features.shape[-1] - 1, width)).astype("int32")
            return ops.take(features, chosen, axis=-1)

        return reduced(theirs), reduced(ours)

    def _singular_relation(
        self, source: Arrays, target: Arrays, targets: ArraysByRole, a: str, b: str
    ) -> PerExample:
        grid = self._grids[b]
        weights = self._foreground.weights(targets, self.target, grid)
        ours, theirs = (
            tuple(standardize(flatten_map(pooled(found[tap], grid)), weights) for tap in (a, b))
            for found in (target, source)
        )
        return singular_relation_loss(ours, theirs, self.rank, weights)


def _check_multiples(grids: Sequence[tuple[int, ...]], common: tuple[int, ...]) -> None:
    if any(size % least for grid in grids for size, least in zip(grid, common, strict=True)):
        expected, got = f"grids that are multiples of {common}, for form='svd'", ", ".join(map(str, grids))
        do = "Choose input sizes whose ratio is a power of two."
        fail("pairs of layer_relation", expected=expected, got=got, do=do)
