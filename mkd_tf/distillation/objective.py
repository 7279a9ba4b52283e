"""The objective: task + sum over strategies of weight(step) x term. All terms are added here.

A student that is pruned or quantised goes on learning from its teacher by the same object.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, ArraysByRole, Bool, Int, PerExample, Scalar
from mkd_tf.distillation.balance import Balance
from mkd_tf.distillation.replicas import over_replicas, replica_count
from mkd_tf.distillation.schedules import is_inside, ramp
from mkd_tf.distillation.task import DetectionTask, task_names
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.keras_losses import as_strategy


@keras.saving.register_keras_serializable("mkd_tf")
class Objective:
    """What is minimised: the task of every network that learns, and every strategy's term.

    It belongs to one `Distiller`, which connects it to its networks.

    >>> import mkd_tf
    >>> strategies = [mkd_tf.SoftClasses(), mkd_tf.SoftBoxes(weight=2.0)]
    >>> balance = mkd_tf.Balance(mode="calibrated", steps=1000)
    >>> objective = Objective(mkd_tf.DetectionTask(box_weight=1.5), strategies, balance)
    >>> [strategy.name for strategy in objective.strategies], objective.balance.mode
    (['soft_classes', 'soft_boxes'], 'calibrated')

    Args:
      task: the loss on labels; the default one if None.
      strategies: what is imitated, each with a name of its own. Losses of
        `keras.distillation` are accepted as well.
      balance: scales the strategies' terms; the default one if None.
    """

    def __init__(
        self,
        task: DetectionTask | None = None,
        strategies: Sequence[Strategy | keras.distillation.DistillationLoss] = (),
        balance: Balance | None = None,
    ):
        self.task = task or DetectionTask()
        self.strategies = [as_strategy(s, i) for i, s in enumerate(strategies)]
        self.balance = balance or Balance()
        # A weight of zero costs nothing.
        self.active = tuple(s for s in self.strategies if s.weight)
        self.anchors: dict[str, Anchors] = {}

    @classmethod
    def of(cls, strategies: Sequence[Any] = (), **options: Any) -> "Objective":
        """Returns the objective of the short form of `Distiller`.

        Args:
          strategies: as above.
          **options: arguments of `DetectionTask` and of `Balance`, whose mode is called `balance` here.
        """
        task = {name: options.pop(name) for name in ("beta", "box_weight") if name in options}
        mode = {"mode": options.pop("balance")} if "balance" in options else {}
        return cls(DetectionTask(**task), strategies, Balance(**mode, **options))

    def connect(self, ports: Mapping[str, Port], learning: Collection[str]) -> None:
        """Creates the variables that depend on the networks. Called once, before `terms`.

        Args:
          ports: of every network, by role.
          learning: roles that learn; `student` among them.

        Raises:
          MkdError: if a strategy lacks its source or target, or names clash.
        """
        for strategy in self.strategies:
            if strategy.target not in learning:
                fail(
                    f"strategy {strategy.name}",
                    expected=f"a target that learns: {', '.join(learning)}",
                    got=repr(strategy.target),
                    do="Set another target=, or learn_guide=True.",
                )
            if not self.balance.steps and (strategy.start, strategy.end) != (0, 1):
                fail(
                    f"start and end of {strategy.name}",
                    expected="a run of known length",
                    got="steps=None",
                    do="Give the Distiller or its Balance the number of steps, as in steps=1000.",
                )
            strategy.connect(ports)
        self.anchors = {role: ports[role].anchors for role in learning}
        # The task's own terms count: a strategy called "box" would hide the boxes' loss.
        own = [s.name for s in self.strategies]
        taken = ["total", *self.task_names]
        if len({*taken, *own}) < len(taken) + len(own):
            fail(
                "strategies",
                expected=f"a name for each, other than {', '.join(taken)}",
                got=", ".join(own),
                do="Give them name= of their own.",
            )
        self.balance.connect({s.name: task_names(s.target) for s in self.active})

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks' terms, in the order in which they are reported."""
        return tuple(name for role in self.anchors for name in task_names(role))

    def parts(
        self, outputs: ArraysByRole, targets: ArraysByRole
    ) -> dict[tuple[str, ...], Callable[[], dict[str, PerExample]]]:
        """Returns what computes the terms before their weights: a task's together, each strategy's alone.

        Args:
          outputs: of each network, by role.
          targets: of each network that learns, by role.
        """

        def of_task(role: str) -> dict[str, PerExample]:
            found = self.task.terms(outputs[role], targets[role], self.anchors[role])
            return dict(zip(task_names(role), found.values(), strict=True))

        def of_strategy(strategy: Strategy) -> dict[str, PerExample]:
            return {strategy.name: strategy(outputs, targets)}

        tasks = {task_names(role): functools.partial(of_task, role) for role in self.anchors}
        return tasks | {(s.name,): functools.partial(of_strategy, s) for s in self.active}

    def terms(self, outputs: ArraysByRole, targets: ArraysByRole) -> dict[str, PerExample]:
        """Returns every term before its weight, by name; arguments as of `parts`."""
        return {n: t for part in self.parts(outputs, targets).values() for n, t in part().items()}

    def due(self, step: Int[Array, ""], progress: Scalar) -> dict[str, Bool[Array, ""]]:
        """Returns whether a term is computed in a step, for each that is not in all of them.

        Args:
          step: number of the step, from 0.
          progress: 0..1, the fraction of the run that is done.
        """
        measures = self.balance.measures(step)
        due = {}
        for s in (s for s in self.active if not s.is_always_due):
            acts = ops.logical_and(ops.equal(step % s.every, 0), is_inside(progress, s.start, s.end))
            # The balance knows the scale of a term from before its phase.
            due[s.name] = ops.logical_or(acts, ops.logical_and(measures, is_inside(progress, 0.0, s.end)))
        return due

    def counts(self, step: Int[Array, ""]) -> dict[str, Any]:
        """Returns how many times each term counts in a step: `every` times, or not at all.

        Args:
          step: number of the step, from 0.
        """
        counts = {s.name: s.every * ops.cast(ops.equal(step % s.every, 0), "float32") for s in self.active}
        return dict.fromkeys(self.task_names, 1.0) | counts

    def roles_due(self, due: Mapping[str, Bool[Array, ""]]) -> dict[str, Bool[Array, ""]]:
        """Returns whether anything reads a source in a step, for each that is not read in all of them.

        Args:
          due: of the step, as `due` returns it.
        """
        asked: dict[str, list[Bool[Array, ""] | None]] = {}
        for s in self.active:
            own, observing = due.get(s.name), s.observing()
            if own is not None and observing is not None:
                own = ops.logical_or(own, observing)
            for role in s.roles:
                asked.setdefault(role, []).append(own)
        return {
            role: functools.reduce(ops.logical_or, [o for o in own if o is not None])
            for role, own in asked.items()
            if None not in own
        }

    def observe(self, outputs: ArraysByRole) -> None:
        """Lets the strategies measure what the networks return, once in every training step.

        Args:
          outputs: of each network, by role.
        """
        for strategy in self.active:
            is_now = strategy.observing()
            if is_now is None:
                continue
            observe = functools.partial(strategy.observe, outputs, over_replicas, is_now)
            if replica_count() > 1:
                # A sum over replicas cannot be within a condition.
                observe()
            else:
                tf.cond(is_now, observe, lambda: None)

    def weights(self, progress: Scalar) -> dict[str, Any]:
        """Returns the scalar weight of every term; the total is the sum of weight x term.

        Args:
          progress: 0..1, the fraction of the run that is done.
        """
        scales = self.balance.scales()
        factors = {s.name: ramp(progress, s.rise, s.fall, s.start, s.end) for s in self.active}
        own = {s.name: s.weight * factors[s.name] * scales[s.name] for s in self.active}
        return dict.fromkeys(self.task_names, 1.0) | own

    def get_config(self) -> dict[str, Any]:
        parts = {"task": self.task, "strategies": self.strategies, "balance": self.balance}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        return cls(**{name: keras.saving.deserialize_keras_object(part) for name, part in config.items()})
