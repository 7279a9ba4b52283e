"""Balance: how much a strategy's term may weigh against the task it helps.

Two measures, each by itself optional:

    calibration   scale_k = mean(L_task) / mean(L_k), over min(200 steps, 5 % of the run)
                  after the warm-up, then frozen; a strategy's weight is then its share
                  of the task's loss. Until it is frozen, the means so far are used.
    guard         every 20th step, cap_k = min(1, cap * |dL_task| / |w_k dL_k|), where d is
                  the gradient with respect to the taps of the network that learns.

Scales are frozen because a ratio that is balanced anew at every step never lets a
term fade (Chen et al., GradNorm, ICML 2018, balances all the way); the guard only
ever lowers a weight. Gradients are compared at the taps, as Sener and Koltun
("Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, sec. 3.3)
compare them at the shared representation: one number per term, without a pass
through the backbone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

MODES = ("fixed", "calibrated")
LARGEST_SCALE = 100.0
"""A term that is almost zero while it is measured would get any weight."""


class Balance(keras.layers.Layer):
    """Scales and caps of the strategies' terms; its variables belong into a checkpoint.

    Args:
      tasks: for every strategy's term, the names of the task's terms it stands beside.
      mode: `fixed`, where a weight is a plain factor, or `calibrated`.
      cap: largest gradient of a term in units of the task's; 0 for no guard.
      steps: length of the run, or None: then the window is 200 steps.
      warmup_steps: of the learning rate, at most a tenth of the run; the window begins after it.
      every: steps between two looks of the guard.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[str]],
        mode: str = "fixed",
        cap: float = 0.0,
        steps: int | None = None,
        warmup_steps: int = 100,
        every: int = 20,
    ):
        super().__init__(name="balance", trainable=False)
        self.tasks = {name: tuple(of) for name, of in tasks.items()}
        self.mode, self.cap, self.every = mode, cap, every
        self.begin = warmup_steps if steps is None else min(warmup_steps, steps // 10)
        self.end = self.begin + (200 if steps is None else max(1, min(200, steps // 20)))
        self.measured = tuple(dict.fromkeys([*self.tasks, *(t for of in self.tasks.values() for t in of)]))
        self.groups = tuple(dict.fromkeys([*((name,) for name in self.tasks), *self.tasks.values()]))
        self._sums = self._values("sums", len(self.measured), "zeros")
        self._scales = self._values("scales", len(self.tasks), "ones")
        self._caps = self._values("caps", len(self.tasks), "ones")
        self._shares = self._values("shares", len(self.tasks), "zeros")
        self.built = True

    def _values(self, name: str, count: int, initializer: str) -> keras.Variable:
        return self.add_weight(
            shape=(count,),
            initializer=initializer,
            dtype="float32",
            trainable=False,
            name=name,
            # Every replica computes the same value, from sums over all of them.
            aggregation="only_first_replica",
        )

    def scales(self) -> dict[str, Any]:
        """Returns the factor of every strategy's term: scale times cap, scalars."""
        factors = ops.convert_to_tensor(self._scales) * ops.convert_to_tensor(self._caps)
        return {name: factors[i] for i, name in enumerate(self.tasks)}

    def shares(self) -> dict[str, Any]:
        """Returns each term's gradient at the taps in units of the task's, when the guard last looked."""
        shares = ops.convert_to_tensor(self._shares)
        return {name: shares[i] for i, name in enumerate(self.tasks)}

    def measure(self, means: Mapping[str, Any], step) -> None:
        """Takes a step's mean terms, before weights, into account while the window is open.

        Args:
          means: scalar mean of every term over the whole batch.
          step: number of the step, from 0.
        """
        if self.mode == "fixed":
            return
        now = ops.stop_gradient(ops.stack([means[name] for name in self.measured]))
        before = ops.convert_to_tensor(self._sums)
        # What came before the window was a stand-in.
        sums = ops.where(ops.equal(step, self.begin), now, before + now)
        total = {name: sums[i] for i, name in enumerate(self.measured)}
        ratios = [
            sum(total[t] for t in of) / ops.maximum(total[name], 1e-12) for name, of in self.tasks.items()
        ]
        is_open = ops.less(step, self.end)
        limited = ops.minimum(ops.stack(ratios), LARGEST_SCALE)
        self._scales.assign(ops.where(is_open, limited, ops.convert_to_tensor(self._scales)))
        self._sums.assign(ops.where(is_open, sums, before))

    def guard(self, squares, weights: Mapping[str, Any], is_due) -> None:
        """Lowers the cap of a term that pulls harder than it may.

        Args:
          squares: `[len(groups)]`: for every group of terms, the squared norm of the gradient
            of their mean, before weights, with respect to the taps of the network that learns.
          weights: the weight that every strategy's term has now, cap included.
          is_due: bool scalar; without it nothing changes.
        """
        norms = dict(zip(self.groups, [ops.sqrt(squares[i]) for i in range(len(self.groups))], strict=True))
        caps = ops.convert_to_tensor(self._caps)
        shares = []
        for name, of in self.tasks.items():
            shares.append(weights[name] * norms[name,] / ops.maximum(norms[of], 1e-12))
        now = ops.stack(shares)
        free = now / ops.maximum(caps, 1e-12)
        wanted = ops.minimum(1.0, self.cap / ops.maximum(free, 1e-12)) if self.cap else caps
        self._caps.assign(ops.where(is_due, wanted, caps))
        self._shares.assign(ops.where(is_due, free * wanted, ops.convert_to_tensor(self._shares)))
