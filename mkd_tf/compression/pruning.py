"""Pruning by magnitude: the smallest weights of every kernel become zero while the rest learns on.

After Zhu and Gupta, "To prune, or not to prune" (2017): in each kernel the share s of weights
of least magnitude is masked, and s rises with the step t,

    s(t) = s_end + (s_begin - s_end) * (1 - (t - begin) / (end - begin))^3

where s_begin is the share of zeros at the beginning. As there, a masked weight keeps its value,
gets no gradient, and can return at a later update of the masks; tfmot's own wrapper sets it to
zero and differentiates past the mask.

Schedule, masks and wrapper are tfmot's, with three changes. Masks are updated by `advance`, once
a step, and not by calls (see `kernels`). Masks are integers: a moving average of a model copies
integers, while an average of 0 and 1 would mask nothing. The last update is at `end` even if
`frequency` does not divide the way there, or the wanted sparsity would not be reached.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

from mkd_tf.checks import check_at_least, check_one_of, check_positive, fail
from mkd_tf.compression.kernels import ComputedKernel, is_trained_convolution, wrapped

LAYOUTS = ("uniform", "erk")


class PrunedConvolution(ComputedKernel, PruneLowMagnitude):
    """A convolution with a mask over its kernel.

    Attributes:
      mask: uint8 of the kernel's shape, 1 where a weight is kept.
    """

    def add_weight(self, name: str | None = None, *args: Any, **kwargs: Any) -> tf.Variable:
        if name == "mask":
            kwargs |= {"dtype": "uint8", "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        return super().add_weight(name, *args, **kwargs)

    @property
    def mask(self) -> tf.Variable:
        return self.pruning_vars[0][1]

    def computed_kernel(self) -> tf.Tensor:
        kernel = self.layer.kernel
        return kernel * tf.cast(self.mask, kernel.dtype)

    def update_mask(self, step: tf.Tensor) -> None:
        """Masks the smallest weights, as many as the schedule says for `step`."""
        _, mask, threshold = self.pruning_vars[0]
        self.pruning_step.assign(step)
        kernel = self.layer.kernel
        limit, kept = self.pruning_obj._update_mask(kernel)
        threshold.assign(limit)
        # tfmot keeps all that equal the limit: in a kernel of zeros alone, every one.
        mask.assign(tf.cast((kept > 0) & (kernel != 0), mask.dtype))


def erk_sparsities(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, float]:
    """Returns the sparsity of each kernel for a sparsity of them all; small kernels lose least.

    A kernel's density is proportional to the sum of its sides over their product, 1 at most, and
    scaled so that all together have the share `sparsity` of zeros (the Erdős-Rényi kernel of Evci
    et al., "Rigging the Lottery", ICML 2020, after Mocanu et al. 2018).

    Args:
      shapes: of each kernel, `(height, width, inputs, outputs)`, by name.
      sparsity: share of zeros in all of them together, between 0 and 1.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        kept = (1 - sparsity) * sum(sizes.values()) - sum(sizes[name] for name in dense)
        factor = kept / sum(raw[name] * sizes[name] for name in shapes if name not in dense)
        full = {name for name in shapes if name not in dense and raw[name] * factor >= 1}
        if not full:
            return {name: 0.0 if name in dense else 1 - raw[name] * factor for name in shapes}
        dense |= full


def prunable(
    twin: tf_keras.Model, sparsity: float, *, begin: int, end: int, frequency: int, layout: str = "uniform"
) -> tf_keras.Model:
    """Returns a copy of `twin` whose convolutions are pruned as `advance` is called.

    Args:
      twin: of `keras_twin`.
      sparsity: share of zeros at the end. A kernel with more zeros keeps them.
      begin: step of the first update; steps count from 0.
      end: step of the last update.
      frequency: steps between updates.
      layout: `uniform`, the same in every kernel, or `erk`, see `erk_sparsities`.

    Raises:
      MkdError: for a sparsity outside 0..1 or a schedule without steps.
    """
    if not 0 < sparsity < 1:
        fail("sparsity", expected="a share between 0 and 1", got=repr(sparsity), do="Use for example 0.5.")
    check_at_least("begin", begin, 0)
    check_positive("frequency", frequency)
    check_at_least("end", end, begin + 1)
    check_one_of("layout", layout, LAYOUTS)
    shapes = {layer.name: tuple(layer.kernel.shape) for layer in twin.layers if is_trained_convolution(layer)}
    wanted = erk_sparsities(shapes, sparsity) if layout == "erk" else dict.fromkeys(shapes, sparsity)

    def wrap(layer: tf_keras.layers.Conv2D) -> PrunedConvolution:
        # One weight at least: tfmot's schedules refuse a sparsity of 1.
        present = 1.0 - max(1, int(tf.math.count_nonzero(layer.kernel))) / layer.kernel.shape.num_elements()
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            present, max(wanted[layer.name], present), begin, end, frequency=frequency
        )
        return PrunedConvolution(layer, schedule)

    return wrapped(twin, wrap)


def advance(model: tf_keras.Model, step: int | tf.Tensor) -> None:
    """Updates the masks if an update is due at `step`; to be called before the step's forward pass.

    Args:
      model: of `prunable`.
      step: number of the step from 0, which is the optimiser's count of finished steps; a Python
        number, or a tensor within a `tf.function`.
    """
    layers = [layer for layer in model.layers if isinstance(layer, PrunedConvolution)]
    step = tf.cast(step, tf.int64)
    schedule = layers[0].pruning_schedule

    def update() -> None:
        for layer in layers:
            layer.update_mask(step)

    tf.cond(schedule(step)[0] | (step == schedule.end_step), update, lambda: None)
