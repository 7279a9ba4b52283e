"""The methods of compression: one class for each, and their table `METHODS`.

A method wraps the tf_keras twin of a trained student into the form that is trained, gets
the number of every step, and copies the trained weights back into a plain detector.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tf_keras

from mkd_tf.checks import check_at_least, check_fraction, check_one_of
from mkd_tf.compression.clustering import clusterable
from mkd_tf.compression.kernels import stripped
from mkd_tf.compression.pruning import advance, prunable
from mkd_tf.compression.quantization import (
    PRESERVES,
    float_weights,
    on_integers,
    quantization_aware,
    seed_ranges,
)
from mkd_tf.compression.twin import keras_twin, take_back
from mkd_tf.registry import Spec, Table

CLUSTERS = 32


class Method:
    """Base class of the methods.

    Attributes:
      name: short, part of the role's name.
      preserve: the result of an earlier method that it keeps: `nothing`, `sparsity` or
        `clusters`.
      leaves: arguments that make a quantisation after it preserve its result.
      ships_plain: whether a plain detector is measured and saved.
    """

    name = ""
    preserve = "nothing"
    leaves: Mapping[str, Any] = {}
    ships_plain = True

    def wrap(self, twin: tf_keras.Model, steps: int, scaling: tuple[float, float]) -> tf_keras.Model:
        """Returns the form of `twin` that is trained for `steps` steps.

        `scaling` is the factor and offset from pixels in 0..255 to its input.
        """
        raise NotImplementedError

    def scaled(self, scaling: tuple[float, float]) -> tuple[float, float]:
        """Returns the factor and offset from pixels of this form, for those of the student."""
        return scaling

    def prepare(self, model: tf_keras.Model, images: np.ndarray) -> None:
        """Runs once before the first step, on images `[K, S, S, 3]` as the core takes them."""

    def advance(self, model: tf_keras.Model, step: int) -> None:
        """Runs before every step, with its number from 0."""

    def take_back(self, model: tf_keras.Model, core: keras.Model) -> None:
        """Gives the Keras 3 `core` the weights that `model` computes with."""
        take_back(stripped(model, keras_twin(core)), core)


class Float(Method):
    """No compression: the baseline, trained for the same further steps as the other methods."""

    name = "float"

    def wrap(self, twin: tf_keras.Model, steps: int, scaling: tuple[float, float]) -> tf_keras.Model:
        return twin


class Qat(Method):
    """Quantisation-aware training: int8 is emulated in further training.

    Args:
      preserve: the result of an earlier method to keep: `nothing`, `sparsity` or `clusters`.
      clusters: how many values a clustered kernel has.
    """

    name = "qat"
    ships_plain = False
    BATCH = 16

    def __init__(self, preserve: str = "nothing", clusters: int = CLUSTERS):
        check_one_of("qat preserve", preserve, PRESERVES)
        check_at_least("qat clusters", clusters, 2)
        self.preserve, self.clusters = preserve, clusters

    def scaled(self, scaling: tuple[float, float]) -> tuple[float, float]:
        return on_integers(scaling)

    def wrap(self, twin: tf_keras.Model, steps: int, scaling: tuple[float, float]) -> tf_keras.Model:
        factor, offset = scaling
        return quantization_aware(twin, self.preserve, (offset, offset + 255 * factor), self.clusters)

    def prepare(self, model: tf_keras.Model, images: np.ndarray) -> None:
        seed_ranges(model, (images[i : i + self.BATCH] for i in range(0, len(images), self.BATCH)))

    def take_back(self, model: tf_keras.Model, core: keras.Model) -> None:
        twin = keras_twin(core)
        float_weights(model, twin)
        take_back(twin, core)


class Prune(Method):
    """Pruning by magnitude: the smallest weights of every convolution become zero.

    Args:
      sparsity: share of zeros among the kernels' weights at the end.
      ramp: share of the steps in which it is reached; after them the masks are fixed.
      layout: its distribution over the kernels, `erk` or `uniform`; see `pruning.prunable`.
    """

    name = "prune"
    leaves = {"preserve": "sparsity"}
    UPDATES = 20

    def __init__(self, sparsity: float = 0.5, ramp: float = 0.4, layout: str = "erk"):
        check_fraction("prune ramp", ramp)
        self.sparsity, self.ramp, self.layout = sparsity, ramp, layout

    def wrap(self, twin: tf_keras.Model, steps: int, scaling: tuple[float, float]) -> tf_keras.Model:
        end = max(1, int(steps * self.ramp))
        every = max(1, end // self.UPDATES)
        return prunable(twin, self.sparsity, begin=0, end=end, frequency=every, layout=self.layout)

    def advance(self, model: tf_keras.Model, step: int) -> None:
        advance(model, step)


class Cluster(Method):
    """Weight sharing: every convolution has few different weights, which are trained.

    Args:
      clusters: how many different weights a kernel has.
    """

    name = "cluster"

    def __init__(self, clusters: int = CLUSTERS):
        self.clusters = clusters
        self.leaves = {"preserve": "clusters", "clusters": clusters}

    def wrap(self, twin: tf_keras.Model, steps: int, scaling: tuple[float, float]) -> tf_keras.Model:
        return clusterable(twin, self.clusters)


METHODS: Table[Method] = Table(
    "compression", {"float": Float, "qat": Qat, "prune": Prune, "cluster": Cluster}
)


def connected(chain: Iterable[Spec]) -> Iterator[Spec]:
    """Yields a chain's specs; a quantisation gets the arguments that the method before it leaves."""
    leaves: Mapping[str, Any] = {}
    for spec in chain:
        if spec.name == Qat.name and leaves:
            spec = dataclasses.replace(spec, arguments={**leaves, **spec.arguments})
        yield spec
        leaves = METHODS.build(spec).leaves
