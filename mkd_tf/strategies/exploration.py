"""Exploration: some channels of the student imitate the source, the others learn something else.

The channels of every pyramid level are split once: the first share inherits (x_i),
the rest explores (x_e). With the factors, standardised per channel over the map,

    f_T = P F_T     of the source, P a fixed random orthonormal projection to k channels
    f_i = E x_i     E the encoder, shared by both parts and by the levels of equal width
    f_e = E x_e     with E held fixed: it must be the channels that change

    inherit = sum_s w_s |f_i[s] - f_T[s]|^2 / (2 k sum_s w_s)            one minus Pearson
    explore = max(0, CKA(f_e, f_T) - max_m CKA(f_e, m f_T))     m: the mirrorings of a map
    head    = detection from x_e alone, on the labels: see `exploration_head`

summed with the weights of the parts; the first two are means over the levels whose
grid the source has too. The weights w are the foreground's, as in `hint`; CKA weights
all cells equally, because an object that the source misses may lie anywhere.

CKA is |f_e' f_T|^2 / (|f_e' f_e| |f_T' f_T|) with Frobenius norms: 1 for equal factors,
0 when no channel of one correlates with any of the other. A permutation of the inherited
channels would satisfy a cosine channel by channel; it does not satisfy CKA. Maps correlate
by chance, the more the fewer cells they have (0.05 on 24 x 24 and 0.3 on 6 x 6 cells, eight
channels of a trained student and teacher on different images), and they share borders.
The chance level of an image is measured with the source's factor mirrored, left to right,
top to bottom or both, which changes only positions. At independence the term and its
gradient are exactly 0, where the negative distance of the reference has no end.

Reference: Huang et al., "Revisiting Knowledge Distillation: An Inheritance and
Exploration Framework", CVPR 2021; Kornblith et al., "Similarity of Neural Network
Representations Revisited", ICML 2019 (CKA). Departures: the paper's factors come from
an auto-encoder of the teacher's features, trained beforehand; a fixed projection needs
no stage, cannot collapse and does not change, and is no wider than the inheriting part,
which can match all of it. Distances are scale-free. Head and wrongness are not in the paper.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_at_least, check_fraction, check_one_of, check_positive, fail
from mkd_tf.detection.types import Array, Arrays, ArraysByRole, Float, OtherMap, PerAnchor, PerExample
from mkd_tf.strategies.base import IMAGES, Port, Strategy, acts_on
from mkd_tf.strategies.exploration_head import ExplorationHead, head_loss, wrongness
from mkd_tf.strategies.hint import foreground, hint_loss
from mkd_tf.strategies.maps import adapter, fixed_projection, flatten_map
from mkd_tf.strategies.matching import level_cells, match_anchors, pair_levels
from mkd_tf.strategies.moments import Channels
from mkd_tf.strategies.soft_targets import decoded, fractions

PARTS = ("inherit", "explore", "head")


def split_width(channels: int, fraction: float) -> int:
    """Returns how many of a map's channels inherit; at least one, and at least one explores.

    Raises:
      MkdError: if there is only one channel.
    """
    if channels < 2:
        expected, got = "maps of at least 2 channels, to be split in two", str(channels)
        do = "Widen the student's pyramid or name other taps."
        fail("taps of exploration", expected=expected, got=got, do=do)
    return min(max(round(channels * fraction), 1), channels - 1)


def alignment(first: Channels, *others: Channels) -> list[PerExample]:
    """Returns the linear CKA of two factors on one grid, 0..1; 0 where either is constant.

    Args:
      first: of the student.
      *others: the source's, and the same one mirrored, which has the same energy.
    """
    own = ops.sqrt(_energy(first.correlations(first)) * _energy(others[0].correlations(others[0])) + 1e-12)
    return [_energy(first.correlations(other)) / own for other in others]


def _energy(products: Float[Array, "batch _ _"]) -> PerExample:
    return ops.sum(ops.square(products), axis=(1, 2))


def explore_loss(
    features: OtherMap, source_factor: OtherMap, kernel: Float[Array, "_ _"] | None = None
) -> PerExample:
    """Returns the alignment of two maps above chance, 0..1, float32.

    Chance is the alignment with the source's map mirrored, the largest of up to three.

    Args:
      features: of the student: its factor, or the channels of which `kernel` makes it.
      source_factor: on the same grid.
      kernel: of the encoder.
    """
    ours = Channels(flatten_map(features), kernel=kernel)
    theirs = Channels(ops.stop_gradient(flatten_map(source_factor)))
    # Mirroring a single row changes nothing: all alignment would count as chance.
    sides = [axes for axes in ((1,), (2,), (1, 2)) if all(source_factor.shape[axis] > 1 for axis in axes)]
    grid = tuple(source_factor.shape[1:3])
    found, *mirrored = alignment(ours, theirs, *(theirs.mirrored(grid, axes) for axes in sides))
    # A map of one cell is constant, and aligned with nothing.
    chance = ops.max(ops.stack(mirrored), axis=0) if mirrored else 0.0
    return ops.relu(found - ops.stop_gradient(chance))


@keras.saving.register_keras_serializable("mkd_tf")
class Exploration(Strategy):
    """Inheritance and exploration on split channels; see the module.

    >>> import numpy as np
    >>> strategy = Exploration(source="teacher", fraction=0.5, head=0.0, fall=0.3)
    >>> split_width(24, strategy.fraction)
    12
    >>> factor = np.float32([[0, 0, 1], [0, 2, 0], [5, 0, 0]]).reshape(1, 3, 3, 1)
    >>> round(float(explore_loss(factor, 2.0 * factor)[0]), 2)  # 1 less the alignment by chance
    0.91

    Args:
      source: `teacher` or `guide`; not `best`, since a factor stands for one network's features.
      taps: pyramid taps, in the order of the anchors' levels.
      fraction: share of the channels that inherit.
      inherit: weight of the inheriting part; 0 switches a part off and costs nothing.
      explore: weight of the exploring part's independence.
      head: weight of the exploration head.
      background: weight of cells without an object for inheriting, above 0.
      gamma: how much more a location counts where the source is wrong.
      head_channels: width of the head.
      beta: exponent of the head's quality focal loss.
      box_weight: factor of the head's boxes.
      head_images: those from whose labels the head learns. On unlabelled ones the labels are
        the teacher's own boxes, which do not tell it where the teacher is wrong.
    """

    options = (
        *("taps", "fraction", *PARTS, "background", "gamma", "head_channels", "beta", "box_weight"),
        "head_images",
    )

    def __init__(
        self,
        weight: float = 1.0,
        source: str = "teacher",
        taps: Sequence[str] = ("P3", "P4", "P5"),
        fraction: float = 0.5,
        inherit: float = 0.2,
        explore: float = 0.1,
        head: float = 0.25,
        background: float = 0.1,
        gamma: float = 1.0,
        head_channels: int = 32,
        beta: float = 1.0,
        box_weight: float = 2.0,
        head_images: str = "all",
        name: str = "exploration",
        **kwargs: Any,
    ):
        super().__init__(weight, source, name=name, **kwargs)
        for part, value in zip(PARTS, (inherit, explore, head), strict=True):
            check_at_least(f"{part} of {name}", value, 0)
        if not (inherit or explore or head):
            do = "Use weight=0 to switch the strategy off."
            fail(name, expected=f"one of {', '.join(PARTS)} above 0", got="0 for each", do=do)
        check_fraction(f"fraction of {name}", fraction)
        check_positive(f"background of {name}", background)
        check_at_least(f"gamma of {name}", gamma, 0)
        check_at_least(f"head_channels of {name}", head_channels, 1)
        check_one_of(f"head_images of {name}", head_images, IMAGES)
        self.taps, self.fraction = tuple(taps), fraction
        self.inherit, self.explore, self.head = inherit, explore, head
        self.background, self.gamma = background, gamma
        self.head_channels, self.beta, self.box_weight = head_channels, beta, box_weight
        self.head_images = head_images

    def _connect(self, source: Port, target: Port) -> None:
        self._levels = level_cells(self.name, target, self.taps)
        self._num_classes = target.num_classes
        widths = {tap: target.shape(tap)[-1] for tap in self.taps}
        self._inheriting = {tap: split_width(width, self.fraction) for tap, width in widths.items()}
        if self.inherit or self.explore:
            self._connect_factors(source, target, widths)
        if self.head:
            self._connect_head(source, target, widths)

    def _connect_factors(self, source: Port, target: Port, widths: dict[str, int]) -> None:
        self._pairs = pair_levels(source, target, self.taps)
        self.encoders: dict[str, keras.layers.Layer] = {}
        self.projections: dict[str, keras.layers.Layer] = {}
        self._factors = {}
        for s, t in self._pairs:
            given, ours = source.shape(s)[-1], self._inheriting[t]
            factor = min(ours, given)
            # Rows enough for the wider part.
            taken = max(ours, widths[t] - ours)
            encoder, projection = f"{taken}_to_{factor}", f"{given}_to_{factor}"
            self._factors[t] = encoder, projection
            if encoder not in self.encoders:
                made = adapter(factor, taken, f"{self.name}_encoder{encoder}")
                made.trainable = bool(self.inherit)
                self.encoders[encoder] = made
            if projection not in self.projections:
                self.projections[projection] = fixed_projection(
                    given, factor, f"{self.name}_factor{projection}"
                )

    def _connect_head(self, source: Port, target: Port, widths: dict[str, int]) -> None:
        per_cell = {count // cells for count, cells in self._levels}
        if len(per_cell) > 1 or source.num_classes != target.num_classes:
            fail(
                f"strategy {self.name}",
                expected=f"the same anchors in each cell, and the {target.num_classes} classes of the target",
                got=f"{sorted(per_cell)} anchors per cell, {source.num_classes} classes in the {self.source}",
                do="Switch its head off by head=0.",
            )
        exploring = tuple(widths[tap] - self._inheriting[tap] for tap in self.taps)
        self.detection_head = ExplorationHead(
            exploring, target.num_classes, per_cell.pop(), self.head_channels, name=f"{self.name}_head"
        )
        self._anchors, self._source_anchors = target.anchors, source.anchors
        self._index, self._matched = match_anchors(source.anchors, target.anchors)

    def parts(self, outputs: ArraysByRole, targets: ArraysByRole) -> dict[str, PerExample]:
        """Returns the parts in use by name, before their weights, float32."""
        source, target = outputs[self.source], outputs[self.target]
        truth, found = targets[self.target], {}
        if self.inherit or self.explore:
            factors = {t: self._factor_maps(target[t], source[s], t) for s, t in self._pairs}
        if self.inherit:
            levels = foreground(truth["labels"], self._num_classes, self._levels, self.background)
            weights = dict(zip(self.taps, levels, strict=True))
            terms = [hint_loss(ours, theirs, weights[t], k) for t, (ours, k, _, _, theirs) in factors.items()]
            found["inherit"] = sum(terms) / len(terms)
        if self.explore:
            terms = [explore_loss(ours, theirs, k) for _, _, ours, k, theirs in factors.values()]
            found["explore"] = sum(terms) / len(terms)
        if self.head:
            maps = [self._parts_of(target[tap], tap)[1] for tap in self.taps]
            predictions = self.detection_head(maps)
            emphasis = 1.0 + self.gamma * self._wrongness(source, truth)
            found["head"] = head_loss(predictions, truth, self._anchors, emphasis, self.beta, self.box_weight)
            if self.head_images != "all":
                found["head"] *= acts_on(self.head_images, truth, f"head_images of {self.name}")
        return found

    def _factor_maps(
        self, ours: OtherMap, theirs: OtherMap, tap: str
    ) -> tuple[OtherMap, Array, OtherMap, Array, OtherMap]:
        """Returns the inheriting and the exploring channels, each with its encoder; the source's factor."""
        encoder, projection = self._factors[tap]
        kernel, split = self.encoders[encoder].kernel[0, 0], self._inheriting[tap]
        inheriting, exploring = self._parts_of(ours, tap)
        fixed = ops.stop_gradient(kernel[: exploring.shape[-1]])
        factor = Channels(flatten_map(theirs)).mixed(self.projections[projection].kernel[0, 0])
        factor = ops.reshape(factor, (-1, *theirs.shape[1:3], factor.shape[-1]))
        return inheriting, kernel[:split], exploring, fixed, factor

    def _parts_of(self, features: OtherMap, tap: str) -> tuple[OtherMap, OtherMap]:
        """Returns the inheriting and the exploring channels of the student's map."""
        inheriting, exploring = ops.split(features, [self._inheriting[tap]], axis=-1)
        return inheriting, exploring

    def _wrongness(self, source: Arrays, truth: Arrays) -> PerAnchor:
        boxes = decoded(source, fractions(self._source_anchors))
        boxes = ops.take(boxes, self._index, axis=1) * self._anchors.image_size
        logits = ops.take(source["class_logits"], self._index, axis=1)
        return wrongness(logits, boxes, truth, self._matched)

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        parts = self.parts(outputs, targets)
        return sum(getattr(self, part) * value for part, value in parts.items())
