"""Balance: how much a strategy's term may weigh against the task beside it.

Three measures, each of them optional:

    calibration   scale_k = mean(L_task) / mean(L_k), over min(200 steps, 5 % of the run)
                  after the warm-up, then frozen; a strategy's weight is then its share
                  of the task's loss. Until it is frozen, the means so far are used.
    gradient      every 20th step, log scale_k moves half of the way to
    share         log(|dL_task| / |dL_k|); a strategy's weight is then its share of the
                  task's gradient, from the first step to the last.
    guard         every 20th step, cap_k = min(1, cap * |dL_task| / |w_k dL_k|).

Here d is the gradient with respect to the taps of the network that learns. Calibrated
scales are frozen because a ratio of losses that is balanced anew at every step never
lets a term fade; a share of the gradient is held on purpose, since a constant weight
holds none (GradNorm, Chen et al., ICML 2018, balances all the way as well), and fades
by `rise`, `fall` and the phase of its strategy alone. The guard only ever lowers a
weight. Gradients are compared at the taps, as Sener and Koltun
("Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, sec. 3.3)
compare them at the shared representation: one number per term, without a pass
through the backbone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_at_least, check_one_of, fail
from mkd_tf.config import BALANCE_MODES
from mkd_tf.detection.types import Array, Bool, Float, Int, Scalar
from mkd_tf.strategies.base import GUARD_PERIOD

LARGEST_SCALE = 100.0
"""Limit of a scale: a term that is almost zero while it is measured would get any weight."""
SHARE_RATE = 0.5
"""How far a scale moves, in its logarithm, towards the ratio measured last: one batch is noisy."""


@keras.saving.register_keras_serializable("mkd_tf")
class Balance(keras.layers.Layer):
    """Scales and caps of the strategies' terms; its variables are part of a checkpoint.

    >>> balance = Balance(mode="calibrated", gradient_cap=0.3, steps=1000)
    >>> balance.begin, balance.end  # steps that are measured: after the warm-up, 5 % of the run
    (100, 150)

    Args:
      mode: `fixed`, where a strategy's weight is a factor; `calibrated`, where it is the
        term's share of the task's loss; `gradient_share`, where it is its share of the
        task's gradient.
      gradient_cap: largest gradient of a term in units of the task's; 0 for no guard.
      steps: length of the run, for this window and the strategies' ramps; None for a window
        of 200 steps and no ramps.
      warmup_steps: of the learning rate; the window begins after them, and after at most a
        tenth of the run.
    """

    def __init__(
        self,
        mode: str = "fixed",
        gradient_cap: float = 0.0,
        steps: int | None = None,
        warmup_steps: int = 100,
    ):
        super().__init__(name="balance", trainable=False, dtype="float32")
        check_one_of("balance", mode, BALANCE_MODES)
        check_at_least("gradient_cap", gradient_cap, 0)
        self.mode, self.gradient_cap = mode, gradient_cap
        self.steps, self.warmup_steps = steps, warmup_steps
        self.begin = warmup_steps if steps is None else min(warmup_steps, steps // 10)
        self.end = self.begin + (200 if steps is None else max(1, min(200, steps // 20)))

    def connect(self, tasks: Mapping[str, Sequence[str]]) -> None:
        """Creates the variables. Called once, before any other method.

        Args:
          tasks: for every strategy's term, the names of the task's terms beside it.

        Raises:
          MkdError: if it is connected already.
        """
        if self.variables:
            fail(
                "balance",
                expected="a Balance that no other Distiller has",
                got="one that is connected already",
                do="Make a new Objective and Balance for every Distiller.",
            )
        self.tasks = {name: tuple(of) for name, of in tasks.items()}
        self.measured = tuple(dict.fromkeys([*self.tasks, *(t for of in self.tasks.values() for t in of)]))
        self.groups = tuple(dict.fromkeys([*((name,) for name in self.tasks), *self.tasks.values()]))
        # Every replica computes the same value, from sums over all of them.
        options = {"dtype": "float32", "trainable": False, "aggregation": "only_first_replica"}
        count = len(self.tasks)
        self._sums = self.add_weight((len(self.measured),), "zeros", name="sums", **options)
        self._scales = self.add_weight((count,), "ones", name="scales", **options)
        self._caps = self.add_weight((count,), "ones", name="caps", **options)
        self._shares = self.add_weight((count,), "zeros", name="shares", **options)
        self.built = True

    @property
    def uses_gradients(self) -> bool:
        """Whether weights depend on what `guard` measures."""
        return bool(self.gradient_cap) or self.mode == "gradient_share"

    def measures(self, step: int | Int[Array, ""]) -> Bool[Array, ""]:
        """Returns whether a step's terms, or their gradients, decide later weights.

        Args:
          step: number of the step, from 0.
        """
        is_open = ops.less(step, self.end if self.mode == "calibrated" else 0)
        is_due = ops.equal(step % GUARD_PERIOD, 0)
        return ops.logical_or(is_open, is_due) if self.uses_gradients else is_open

    def scales(self) -> dict[str, Scalar]:
        """Returns the factor of every strategy's term: scale times cap."""
        factors = ops.convert_to_tensor(self._scales) * ops.convert_to_tensor(self._caps)
        return {name: factors[i] for i, name in enumerate(self.tasks)}

    def shares(self) -> dict[str, Scalar]:
        """Returns each term's gradient at the taps in units of the task's, as measured last."""
        shares = ops.convert_to_tensor(self._shares)
        return {name: shares[i] for i, name in enumerate(self.tasks)}

    def measure(self, means: Mapping[str, Scalar], step: int | Int[Array, ""]) -> None:
        """Updates the scales by a step's mean terms while the window is open.

        Args:
          means: mean of every term over the whole batch, before weights.
          step: number of the step, from 0.
        """
        if self.mode != "calibrated":
            return
        now = ops.stop_gradient(ops.stack([means[name] for name in self.measured]))
        before = ops.convert_to_tensor(self._sums)
        # Sums from before the window only stood in for these.
        sums = ops.where(ops.equal(step, self.begin), now, before + now)
        total = {name: sums[i] for i, name in enumerate(self.measured)}
        ratios = [
            sum(total[t] for t in of) / ops.maximum(total[name], 1e-12) for name, of in self.tasks.items()
        ]
        is_open = ops.less(step, self.end)
        limited = ops.minimum(ops.stack(ratios), LARGEST_SCALE)
        self._scales.assign(ops.where(is_open, limited, ops.convert_to_tensor(self._scales)))
        self._sums.assign(ops.where(is_open, sums, before))

    def guard(
        self, squares: Float[Array, " groups"], weights: Mapping[str, Any], is_due: Bool[Array, ""]
    ) -> None:
        """Moves scales to their shares of the gradient; lowers the cap of a term whose gradient is too large.

        Args:
          squares: for every group of terms, the squared norm of the gradient of their mean,
            before weights, with respect to the taps of the network that learns.
          weights: the present weight of every strategy's term, cap included.
          is_due: whether this is a step of the guard; otherwise nothing changes.
        """
        norms = dict(zip(self.groups, [ops.sqrt(squares[i]) for i in range(len(self.groups))], strict=True))
        own = ops.stack([norms[name,] for name in self.tasks])
        task = ops.stack([norms[of] for of in self.tasks.values()])
        caps, scales = ops.convert_to_tensor(self._caps), ops.convert_to_tensor(self._scales)
        free = ops.stack([weights[n] for n in self.tasks]) * own / ops.maximum(task, 1e-12)
        free = free / ops.maximum(caps, 1e-12)
        if self.mode == "gradient_share":
            moved = self._towards(task, own, scales)
            free = free * moved / scales
            self._scales.assign(ops.where(is_due, moved, scales))
        wanted = caps
        if self.gradient_cap:
            wanted = ops.minimum(1.0, self.gradient_cap / ops.maximum(free, 1e-12))
        self._caps.assign(ops.where(is_due, wanted, caps))
        self._shares.assign(ops.where(is_due, free * wanted, ops.convert_to_tensor(self._shares)))

    @staticmethod
    def _towards(
        task: Float[Array, " terms"], own: Float[Array, " terms"], scales: Float[Array, " terms"]
    ) -> Float[Array, " terms"]:
        """Returns the scales after a measurement of the gradients' norms."""
        ratios = ops.clip(task / ops.maximum(own, 1e-12), 1.0 / LARGEST_SCALE, LARGEST_SCALE)
        # A scale of exactly 1 was never measured: the first measurement counts whole.
        rates = ops.where(ops.equal(scales, 1.0), 1.0, SHARE_RATE)
        moved = ops.exp((1.0 - rates) * ops.log(scales) + rates * ops.log(ratios))
        # A term that is zero in this batch, as without an unlabelled image, says nothing.
        return ops.where(own > 1e-9 * task, moved, scales)

    def get_config(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in ("mode", "gradient_cap", "steps", "warmup_steps")}
