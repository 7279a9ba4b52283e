"""The distiller: one training step in which a student learns from labels, teacher and guide."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.checks import check_at_least, check_one_of, fail
from mkd_tf.detectors.base import tap_names
from mkd_tf.distillation.balance import MODES
from mkd_tf.distillation.objective import Objective, task_names
from mkd_tf.distillation.replicas import over_replicas, replica_count, shared_gradients
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.keras_losses import as_strategy


@keras.saving.register_keras_serializable("mkd_tf")
class Distiller(keras.Model):
    """Trains `student` against labels and against what `teacher` and `guide` know.

    A batch is `{"images": [B, S, S, 3] float32 in 0..255, "targets": {role: {"labels",
    "boxes", "weights", "known"}}}` with one entry for each network that learns (see
    `targets.assign`); S is the largest input of the networks, each of which gets the
    same images at its size. Each network runs once per step, and not at all if no
    strategy with a weight asks it. The teacher, and a guide that does not learn, run in
    inference mode, get no gradient and are bit-identical after `fit`.

    Args:
      student: the detector that learns.
      teacher: a trained detector, or None to train on labels alone.
      guide: a detector between the two, or None.
      strategies: what is imitated; each with a name of its own. Losses of
        `keras.distillation` are taken as well.
      beta: exponent of the task's quality focal loss.
      box_weight: factor of the task's box term.
      steps: length of the run, for the strategies' ramps; None for no ramps.
      learn_guide: whether the guide learns in the same step, from its own targets and
        from the strategies whose target it is. Otherwise it is trained already.
      balance: `fixed`: a strategy's weight is a factor. `calibrated`: it is the term's
        share of the task's loss; see `balance`.
      gradient_cap: largest gradient of a term in units of the task's; 0 for no limit.
      warmup_steps: of the learning rate: a calibrated balance measures after them.

    Raises:
      MkdError: if two strategies share a name, or one lacks its source.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        guide: keras.Model | None = None,
        strategies: Sequence[Strategy] = (),
        beta: float = 1.0,
        box_weight: float = 2.0,
        steps: int | None = None,
        learn_guide: bool = False,
        balance: str = "fixed",
        gradient_cap: float = 0.0,
        warmup_steps: int = 100,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_one_of("balance", balance, MODES)
        check_at_least("gradient_cap", gradient_cap, 0)
        if learn_guide and guide is None:
            fail("learn_guide", expected="a guide that learns", got="none", do="Give a guide=.")
        self.student, self.teacher, self.guide = student, teacher, guide
        self.strategies = strategies = [as_strategy(s, i) for i, s in enumerate(strategies)]
        self.steps, self.learn_guide, self.warmup_steps = steps, learn_guide, warmup_steps
        given = {"student": student, "guide": guide, "teacher": teacher}
        networks = {role: network for role, network in given.items() if network is not None}
        self._learning = {
            r: n for r, n in networks.items() if r == "student" or (r == "guide" and learn_guide)
        }
        asked = {role for s in strategies if s.weight for role in s.roles}
        # A network that nobody asks is not run: its forward pass may cost more than the student's step.
        self._fixed = {r: n for r, n in networks.items() if r in asked and r not in self._learning}
        ports = {role: port_of(network) for role, network in networks.items()}
        for strategy in strategies:
            self._check(strategy)
            strategy.connect(ports)
        anchors = {role: network.anchors for role, network in self._learning.items()}
        self.objective = Objective(
            anchors, strategies, beta, box_weight, balance, gradient_cap, steps, warmup_steps
        )
        self._check_names()
        self.balance = self.objective.balance  # As a layer: its variables are the distiller's.
        self._means = {name: keras.metrics.Mean(name) for name in self._log_names()}
        self.built = True

    def _check(self, strategy: Strategy) -> None:
        if strategy.target not in self._learning:
            fail(
                f"strategy {strategy.name}",
                expected=f"a target that learns: {', '.join(self._learning)}",
                got=repr(strategy.target),
                do="Set another target=, or learn_guide=True.",
            )

    def _check_names(self) -> None:
        # The task's own terms count: a strategy called "box" would hide the boxes' loss.
        own = [s.name for s in self.strategies]
        taken = ["total", *self.objective.task_names]
        if len({*taken, *own}) < len(taken) + len(own):
            fail(
                "strategies",
                expected=f"a name for each, other than {', '.join(taken)}",
                got=", ".join(own),
                do="Give them name= of their own.",
            )

    def _log_names(self) -> list[str]:
        own = [s.name for s in self.objective.active]
        details = [f"{kind}_{name}" for name in own for kind in ("raw", "weight", "share")]
        return ["total", *self.objective.task_names, *own, *details]

    @property
    def trainable_variables(self) -> list:
        """Those of the networks that learn and of the adapters; never the teacher's."""
        owners = [*self._learning.values(), *self.objective.active]
        return [v for owner in owners for v in owner.trainable_variables]

    def compile(self, *args, **kwargs) -> None:
        super().compile(*args, **kwargs)
        # A file of a distiller that has not trained yet could not be loaded otherwise.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if not config:
            return config
        # Keras's optimisers forget in a file what `exclude_from_weight_decay` told them.
        decays = self.optimizer._use_weight_decay
        return config | {"undecayed": [i for i, v in enumerate(self.trainable_variables) if not decays(v)]}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        given = keras.saving.deserialize_keras_object(config)
        undecayed = given.pop("undecayed", [])
        variables = self.trainable_variables
        given["optimizer"].exclude_from_weight_decay([variables[i] for i in undecayed])
        self.compile(**given)

    def train_step(self, data: dict) -> dict:
        images, step = data["images"], self.optimizer.iterations
        outputs = {r: network(resized(images, network), training=False) for r, network in self._fixed.items()}
        with tf.GradientTape(persistent=True) as tape:
            for role, network in self._learning.items():
                outputs[role] = network(resized(images, network), training=True)
            terms = self.objective.terms(outputs, data["targets"])
            weights = self.objective.weights(self.progress())
            means = {name: ops.mean(term) / replica_count() for name, term in terms.items()}
            total = sum(weights[name] * mean for name, mean in means.items())
        is_due = ops.equal(step % self.balance.every, 0)
        squares = self._squares(tape, means, outputs, is_due)
        variables = self.trainable_variables
        gradients = tape.gradient(total, variables)
        self.balance.measure(over_replicas(means), step)
        self.balance.guard(over_replicas(squares), weights, is_due)
        self.optimizer.apply(shared_gradients(gradients, self.optimizer), variables)
        return self._report(terms, weights, details=True)

    def _squares(self, tape, means: dict, outputs: dict, is_due):
        """Squared gradient of each of the balance's groups of terms at the taps: `[groups]`."""
        targets = {s.name: s.target for s in self.objective.active}
        targets |= {name: role for role in self._learning for name in task_names(role)}
        taps = {role: taps_of(outputs[role]) for role in self._learning}

        def look():
            found = []
            for group in self.balance.groups:
                gradients = tape.gradient([means[n] for n in group], taps[targets[group[0]]])
                found.append(sum(ops.sum(ops.square(g)) for g in gradients if g is not None))
            return ops.stack([ops.cast(f, "float32") for f in found])

        zeros = ops.zeros(len(self.balance.groups))
        if not self.objective.active:
            return zeros
        if replica_count() > 1:
            # Synchronised batch norms cannot be passed within a condition.
            return look() if self.balance.cap else zeros
        # Once in a while only: it is one more pass through the head for every term.
        return tf.cond(is_due, look, lambda: zeros)

    def test_step(self, data: dict) -> dict:
        networks = self._fixed | self._learning
        outputs = {
            r: network(resized(data["images"], network), training=False) for r, network in networks.items()
        }
        terms = self.objective.terms(outputs, data["targets"])
        return self._report(terms, self.objective.weights(self.progress()))

    def progress(self):
        """The fraction of the run that is done; with no `steps`, its middle, where ramps are flat."""
        if not self.steps:
            return ops.convert_to_tensor(0.5)
        return ops.minimum(ops.cast(self.optimizer.iterations, "float32") / self.steps, 1.0)

    def _report(self, terms: dict, weights: dict, details: bool = False) -> dict:
        weighted = {name: weights[name] * term for name, term in terms.items()}
        values = {"total": sum(weighted.values())} | weighted
        shares = self.balance.shares() if details else {}
        for name in shares:
            values |= {
                f"raw_{name}": terms[name],
                f"weight_{name}": weights[name],
                f"share_{name}": shares[name],
            }
        for name, value in values.items():
            self._means[name].update_state(value)
        return {name: self._means[name].result() for name in values}

    def call(self, images, training: bool = False):
        return self.student(resized(images, self.student), training=training)

    def get_config(self) -> dict[str, Any]:
        save = keras.saving.serialize_keras_object
        networks = {"student": self.student, "teacher": self.teacher, "guide": self.guide}
        return {
            **{role: None if network is None else save(network) for role, network in networks.items()},
            "strategies": [save(s) for s in self.strategies],
            "beta": self.objective.beta,
            "box_weight": self.objective.box_weight,
            "steps": self.steps,
            "learn_guide": self.learn_guide,
            "balance": self.balance.mode,
            "gradient_cap": self.balance.cap,
            "warmup_steps": self.warmup_steps,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "Distiller":
        load = keras.saving.deserialize_keras_object
        roles = {r: config[r] and load(config[r], custom_objects) for r in ("student", "teacher", "guide")}
        strategies = [load(s, custom_objects) for s in config["strategies"]]
        return cls(**(config | roles | {"strategies": strategies}))


def port_of(network: keras.Model) -> Port:
    """Tells strategies the static shapes of a detector's outputs."""
    return Port({name: tuple(t.shape[1:]) for name, t in network.output.items()}, network.anchors)


def resized(images, network: keras.Model):
    """Brings images `[B, S, S, 3]` to the network's input size, antialiased; same values at equal size."""
    size = network.image_size
    if images.shape[1] == size:
        return images
    return ops.image.resize(images, (size, size), interpolation="bilinear", antialias=True)


def taps_of(outputs: dict) -> list:
    """The feature maps among a detector's outputs: where gradients are compared."""
    return [outputs[name] for name in tap_names(outputs)]
