"""The contract of a strategy: what one network imitates of another.

A strategy is a `keras.layers.Layer` that is first *connected* (told the static
shapes of the networks' outputs, so that it can make its adapters) and then
*compares*: `call(outputs, targets)` returns its term, `[B]` float32. Every
normaliser and standardisation is per example, so the term does not change with
the batch or the number of replicas.
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

SOURCES = ("teacher", "guide", "best")
"""Whom a strategy may imitate; `best` is teacher or guide, whichever is more confident, per anchor."""


@dataclasses.dataclass(frozen=True, eq=False)
class Port:
    """What a strategy may know of a network before it runs.

    Attributes:
      shapes: static shape of each output without the batch: `(h, w, c)` or `(N, x)`.
      anchors: one anchor per location of the predictions.
    """

    shapes: Mapping[str, tuple[int, ...]]
    anchors: Anchors

    @property
    def num_classes(self) -> int:
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
    """One kind of knowledge that `target` takes over from `source`.

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
        """The networks that stand behind the source."""
        return ("teacher", "guide") if self.source == "best" else (self.source,)

    def connect(self, ports: Mapping[str, Port]) -> None:
        """Makes what depends on the networks' shapes. Called once, before the first `call`.

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
        """Overridden where there is something to make."""

    def call(self, outputs: dict, targets: dict) -> Any:
        """Returns the term `[B]` float32 of `outputs[role][name]` and `targets[role][name]`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "weight": self.weight,
            "source": self.source,
            "target": self.target,
            "rise": self.rise,
            "fall": self.fall,
            "name": self.name,
        }


def _kind(tap: str) -> str:
    """`C` or `P`; nothing for a tap that a user named in another way."""
    return tap[0] if re.fullmatch(r"[CP]\d", tap) else ""


def pair_levels(source: Port, target: Port, taps: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs taps of equal grid: `[(source tap, target tap), ...]`.

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


def match_anchors(source: Anchors, target: Anchors, least_iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Finds for every anchor of the target the source's anchor nearest to it.

    Compared by IoU as fractions of the image, so it joins detectors of other
    input sizes and other anchor grids; for equal grids it is the identity.

    Returns:
      `index` `[N_target]` int32 into the source's anchors, and `matched`
      `[N_target]` float32, 0 where the best overlap is under `least_iou`.
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


def standardize(features, weights=None, epsilon: float = 1e-6):
    """Gives every channel of every example mean 0 and variance 1 over space, in float32.

    Args:
      features: `[B, S, C]`.
      weights: `[B, S, 1]` of the positions, or None for equal ones.
      epsilon: a channel whose variance is below this share of the map's mean square
        counts as constant and becomes 0. A share, so that a factor changes nothing.
    """
    features = ops.cast(features, "float32")
    weights = ops.ones_like(features[..., :1]) if weights is None else weights
    total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), epsilon)
    mean = ops.sum(features * weights, axis=1, keepdims=True) / total
    centered = features - mean
    variance = ops.sum(ops.square(centered) * weights, axis=1, keepdims=True) / total
    energy = ops.stop_gradient(ops.mean(ops.square(features), axis=(1, 2), keepdims=True))
    return centered * ops.rsqrt(variance + epsilon * energy + 1e-12)


def flatten_map(features):
    """`[B, h, w, C]` to `[B, h * w, C]`."""
    _, height, width, channels = features.shape
    return ops.reshape(features, (-1, height * width, channels))


def adapter(channels: int, input_channels: int, name: str) -> keras.layers.Layer:
    """A 1x1 convolution that carries a map to `channels`, built, owned by the strategy.

    Without a bias: it would vanish where the map is standardised.
    """
    layer = keras.layers.Conv2D(channels, 1, use_bias=False, name=name)
    layer.build((None, None, None, input_channels))
    return layer
