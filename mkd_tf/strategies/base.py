"""The contract of a strategy: what one network imitates of another.

A strategy is a `keras.layers.Layer`. `connect(ports)` gives it the static shapes of
the networks' outputs, from which it makes its adapters; `call(outputs, targets)`
returns its term, `[B]` float32. Every normaliser and standardisation is per example,
so the term does not change with the batch or the number of replicas.
"""

import dataclasses
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_fraction, check_one_of, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, ArraysByRole, CellWeights, Float, Int, Map, PerExample

SOURCES = ("teacher", "guide", "best")
"""What a strategy may imitate; `best` is the more confident of teacher and guide, per anchor."""


@dataclasses.dataclass(frozen=True, eq=False)
class Port:
    """The static description of a network that strategies are connected to.

    Attributes:
      shapes: static shape of each output without the batch: `(h, w, c)` or `(N, x)`.
      anchors: one anchor per location of the predictions.
    """

    shapes: Mapping[str, tuple[int, ...]]
    anchors: Anchors

    @property
    def num_classes(self) -> int:
        """Number of classes, without a background."""
        return self.shapes["class_logits"][-1]

    def shape(self, output: str) -> tuple[int, ...]:
        """Returns the static shape of an output.

        Raises:
          MkdError: if the network has none of that name.
        """
        if output not in self.shapes:
            fail(
                "taps of a strategy",
                expected=f"some of {', '.join(self.shapes)}",
                got=repr(output),
                do="Name taps as in taps=('C3', 'C4').",
            )
        return self.shapes[output]


class Strategy(keras.layers.Layer):
    """One kind of knowledge that `target` imitates of `source`; the base of every strategy.

    >>> from keras import ops
    >>> class Evidence(Strategy):
    ...     def call(self, outputs, targets):
    ...         totals = {role: ops.sum(found["class_logits"], (1, 2)) for role, found in outputs.items()}
    ...         return ops.square(totals[self.target] - ops.stop_gradient(totals[self.source]))
    >>> logits = {"teacher": ops.ones((2, 5, 3)), "student": ops.zeros((2, 5, 3))}
    >>> strategy = Evidence(weight=0.1)
    >>> ops.convert_to_numpy(strategy({role: {"class_logits": z} for role, z in logits.items()}, {})).tolist()
    [225.0, 225.0]

    Attributes:
      sources: roles that may be the source.
      options: the class's own constructor arguments, which its files hold.

    Args:
      weight: factor of the term in the total.
      source: role that is imitated: `teacher` or `guide`, or `best` of both where the
        strategy compares predictions (`sources`).
      target: role that imitates.
      rise: fraction of the run over which the weight rises from 0.
      fall: fraction of the run, at its end, over which the weight falls to 0.
      name: under which the term is reported.
    """

    sources: tuple[str, ...] = ("teacher", "guide")
    options: tuple[str, ...] = ()

    def __init__(
        self,
        weight: float = 1.0,
        source: str = "teacher",
        target: str = "student",
        rise: float = 0.0,
        fall: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        check_one_of(f"source of {self.name}", source, self.sources)
        check_fraction(f"rise of {self.name}", rise)
        check_fraction(f"fall of {self.name}", fall)
        if not (isinstance(weight, Real) and weight >= 0):
            fail(
                f"weight of {self.name}",
                expected="a number of 0 or more",
                got=repr(weight),
                do="Use 0 to switch it off.",
            )
        self.weight: float = weight
        self.source: str = source
        self.target: str = target
        self.rise: float = rise
        self.fall: float = fall

    @property
    def roles(self) -> tuple[str, ...]:
        """The networks that the source consists of."""
        return ("teacher", "guide") if self.source == "best" else (self.source,)

    def connect(self, ports: Mapping[str, Port]) -> None:
        """Creates what depends on the networks' shapes. Called once, before the first `call`.

        Raises:
          MkdError: if the source or target is missing, or nothing can be compared.
        """
        needed = [("source", role, "to learn from") for role in self.roles]
        for argument, role, purpose in (*needed, ("target", self.target, "that learns")):
            if role not in ports:
                fail(
                    f"strategy {self.name}",
                    expected=f"a {role} {purpose}",
                    got=f"networks {', '.join(ports)}",
                    do=f"Give a {role}, or another {argument}= to the strategy.",
                )
        if self.target in self.roles:
            fail(
                f"strategy {self.name}",
                expected=f"a target other than its source {self.source}",
                got=f"target {self.target}",
                do="A network cannot learn from itself: set another source= or target=.",
            )
        self._connect(ports[self.roles[0]], ports[self.target])
        self.built = True

    def _connect(self, source: Port, target: Port) -> None:
        """Overridden by strategies that create something."""

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        """Returns the term of `outputs[role][name]` and `targets[role][name]`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        names = ("weight", "source", "target", "rise", "fall", "name", *self.options)
        return {name: getattr(self, name) for name in names}


def _kind(tap: str) -> str:
    """Returns `C` or `P`; an empty string for a tap of another form of name."""
    return tap[0] if re.fullmatch(r"[CP]\d", tap) else ""


def pair_levels(source: Port, target: Port, taps: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns the pairs of taps of equal grid: `[(source tap, target tap), ...]`.

    A teacher at twice the student's input size has the student's P3 grid at its P4. A
    backbone's map (C) is never paired with a pyramid's (P).

    Raises:
      MkdError: if no two grids agree.
    """
    pairs = [
        (s, t)
        for t in taps
        for s in taps
        if _kind(s) == _kind(t) and source.shape(s)[:2] == target.shape(t)[:2]
    ]
    if not pairs:
        fail(
            f"taps {', '.join(taps)}",
            expected="a common grid of source and target",
            got=f"{[source.shape(s)[:2] for s in taps]} and {[target.shape(t)[:2] for t in taps]}",
            do="Choose input sizes whose ratio is a power of two.",
        )
    return pairs


def match_anchors(
    source: Anchors, target: Anchors, least_iou: float = 0.5
) -> tuple[Int[np.ndarray, " anchors"], Float[np.ndarray, " anchors"]]:
    """Finds for every anchor of the target the source's anchor of largest overlap.

    Boxes are compared as fractions of the image, so detectors may differ in input size
    and anchor grid; for equal grids the match is the identity.

    Returns:
      For each anchor of the target, the index of the source's anchor, int32, and whether
      it matches: float32, 0 where their IoU is under `least_iou`.
    """
    ours, theirs = target.normalized(), source.normalized()
    if ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-6):
        return np.arange(len(ours), dtype="int32"), np.ones(len(ours), "float32")
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    size_a, size_b = (np.prod(a[:, 2:] - a[:, :2], axis=-1) for a in (ours, theirs))
    overlap = common / (size_a[:, None] + size_b[None] - common)
    return overlap.argmax(1).astype("int32"), (overlap.max(1) >= least_iou).astype("float32")


def standardize(
    features: Float[Array, "batch cells c"], weights: Float[Array, "#batch cells 1"] | None = None
) -> Float[Array, "batch cells c"]:
    """Returns features of mean 0 and variance 1 over space in every channel of every example, in float32.

    A channel counts as constant and becomes 0 if its variance is below a share of 1e-6
    of the map's mean square. It is a share so that a factor on the features changes nothing.

    Args:
      features: of the cells of a map.
      weights: of the cells, or None for equal ones.
    """
    epsilon = 1e-6
    features = ops.cast(features, "float32")
    weights = ops.ones_like(features[..., :1]) if weights is None else weights
    total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), epsilon)
    mean = ops.sum(features * weights, axis=1, keepdims=True) / total
    centered = features - mean
    variance = ops.sum(ops.square(centered) * weights, axis=1, keepdims=True) / total
    energy = ops.stop_gradient(ops.mean(ops.square(features), axis=(1, 2), keepdims=True))
    return centered * ops.rsqrt(variance + epsilon * energy + 1e-12)


def flatten_map(features: Map) -> Float[Array, "batch h*w c"]:
    """Returns the cells of a map, row by row."""
    _, height, width, channels = features.shape
    return ops.reshape(features, (-1, height * width, channels))


def standard_map(features: Map, weights: CellWeights | None = None) -> Map:
    """Returns `standardize` of a map, as a map."""
    return ops.reshape(standardize(flatten_map(features), weights), (-1, *features.shape[1:]))


def adapter(channels: int, input_channels: int, name: str) -> keras.layers.Layer:
    """Returns a built 1x1 convolution that maps features to `channels`.

    It has no bias, which would vanish where the map is standardised.
    """
    layer = keras.layers.Conv2D(channels, 1, use_bias=False, name=name)
    layer.build((None, None, None, input_channels))
    return layer
