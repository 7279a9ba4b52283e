"""The distiller: one training step in which a student learns from labels, teacher and guide."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.detection.precision import in_float32
from mkd_tf.detection.types import Array, Arrays, Bool, Float, Scalar
from mkd_tf.distillation.answers import Answers
from mkd_tf.distillation.gradients import StepGradients, read_by_terms
from mkd_tf.distillation.keras_arguments import UNUSED_IN_COMPILE, UNUSED_IN_FIT, batch_of, given_of, refuse
from mkd_tf.distillation.means import Means
from mkd_tf.distillation.multi_worker import MultiWorkerModel
from mkd_tf.distillation.objective import Objective
from mkd_tf.distillation.outputs import no_outputs_of, outputs_of, port_of, resized, returned_by
from mkd_tf.distillation.replicas import inner_optimizer, over_replicas, replica_count, shared_gradients
from mkd_tf.distillation.task import task_names
from mkd_tf.strategies.base import GUARD_PERIOD, Strategy

LOSS = "loss"
"""Keras's own name of the sum of all terms in the logs; ours is `total`."""
_PARTS = ("student", "teacher", "guide", "objective")


@keras.saving.register_keras_serializable("mkd_tf")
class Distiller(MultiWorkerModel):
    """Trains `student` against labels and against what `teacher` and `guide` predict.

    A batch is `{"images": [B, S, S, 3] float32 in 0..255, "targets": {role: {"labels",
    "boxes", "weights", "known"}}}` with one entry for each network that learns (see
    `targets.assign`), and `labelled` `[B]` where a strategy chooses by it; S is the largest
    input of the networks, each of which gets the same images at its size. With a teacher that
    is an `Answers`, it also has `answers`, `{"teacher": outputs}`; so it may of other networks that
    do not learn, which then do not compute. Each network runs once per step; unused ones are
    skipped. The teacher, and a guide that does not learn, run in inference mode, get no gradient
    and are bit-identical after `fit`.

    >>> import mkd_tf
    >>> make = lambda size: mkd_tf.Tiny(size=size, image_size=64, class_names=("cat", "cup"))
    >>> strategies = [mkd_tf.SoftClasses(), mkd_tf.AttentionMap(weight=0.1)]
    >>> distiller = Distiller(make("student"), make("student"), strategies=strategies, beta=2.0)
    >>> distiller.compile(optimizer="adamw")  # and then fit
    >>> distiller.objective.task
    DetectionTask(beta=2.0, box_weight=2.0)

    Args:
      student: the detector that learns.
      teacher: a trained detector, or a layer that answers in its place (with its `anchors`,
        `image_size` and `output`); `Answers` for detections that come with the batch, or None
        to train on labels alone.
      guide: a detector between the two, or None.
      strategies: of the objective, in the short form.
      objective: what is minimised.
      learn_guide: whether the guide learns in the same step, from its own targets and
        from the strategies whose target it is. Otherwise it is trained already.
      name: of the model.
      **options: the short form, instead of `objective`: `beta` and `box_weight` of
        `DetectionTask`; `balance` (the mode), `gradient_cap`, `steps` and `warmup_steps`
        of `Balance`.

    Raises:
      MkdError: if both forms are given, two strategies share a name, or one lacks its source.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.layers.Layer | Answers | None = None,
        guide: keras.Model | None = None,
        strategies: Sequence[Strategy | keras.distillation.DistillationLoss] = (),
        *,
        objective: Objective | None = None,
        learn_guide: bool = False,
        name: str | None = None,
        **options: Any,
    ):
        super().__init__(name=name)
        if objective is None:
            objective = Objective.of(strategies, **options)
        elif strategies or options:
            fail(
                "objective",
                expected="no arguments of the short form beside it",
                got=", ".join([*(["strategies"] if strategies else []), *options]),
                do="Move them into the Objective, its DetectionTask and its Balance.",
            )
        if learn_guide and guide is None:
            fail("learn_guide", expected="a guide that learns", got="none", do="Give a guide=.")
        self.student, self.teacher, self.guide = student, teacher, guide
        self.objective, self.learn_guide = objective, learn_guide
        given = {"student": student, "guide": guide, "teacher": teacher}
        networks = {role: network for role, network in given.items() if network is not None}
        self._learning = {
            r: n for r, n in networks.items() if r == "student" or (r == "guide" and learn_guide)
        }
        used = {role for s in objective.active for role in s.roles}
        # The forward pass of an unused network may cost more than the student's step.
        self._fixed = {
            r: n
            for r, n in networks.items()
            if r in used and r not in self._learning and not isinstance(n, Answers)
        }
        objective.connect({role: port_of(network) for role, network in networks.items()}, self._learning)
        # As layers of the model: their variables are the distiller's.
        self.strategies, self.balance = objective.strategies, objective.balance
        self._means = Means(tuple(self._log_names()))
        self.built = True

    def _log_names(self) -> list[str]:
        own = [s.name for s in self.objective.active]
        details = [f"{kind}_{name}" for name in own for kind in ("raw", "weight", "share")]
        return ["total", *self.objective.task_names, *own, *details]

    @property
    def sources(self) -> dict[str, keras.layers.Layer]:
        """The networks that do not learn and of which a strategy reads, by role."""
        return dict(self._fixed)

    @property
    def learners(self) -> dict[str, keras.Model]:
        """The networks that learn, by role."""
        return dict(self._learning)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables of the networks that learn and of the adapters; never the teacher's."""
        owners = [*self._learning.values(), *self.objective.active]
        return [v for owner in owners for v in owner.trainable_variables]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configures `fit` as `keras.Model.compile` does; the objective is the loss.

        Raises:
          MkdError: for `loss`, `loss_weights`, `metrics` or `weighted_metrics`, which nothing would use.
        """
        refuse(given_of(keras.Model.compile, args, kwargs), UNUSED_IN_COMPILE, "Distiller.compile")
        super().compile(*args, **kwargs)
        # A file of a distiller that has not trained yet could not be loaded otherwise.
        self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, on batches as above.

        Raises:
          MkdError: for `y`, `class_weight` or `sample_weight`, which nothing would use.
        """
        given = given_of(keras.Model.fit, args, kwargs)
        refuse(given, UNUSED_IN_FIT, "Distiller.fit")
        # Batches come in an order of their own, and Keras warns that it cannot shuffle them.
        return super().fit(*args, **({} if "shuffle" in given else {"shuffle": False}), **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Measures every term as `keras.Model.evaluate` does.

        Raises:
          MkdError: for `y` or `sample_weight`, which nothing would use.
        """
        refuse(given_of(keras.Model.evaluate, args, kwargs), UNUSED_IN_FIT, "Distiller.evaluate")
        return super().evaluate(*args, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if not config:
            return config
        # Keras's optimisers do not save what `exclude_from_weight_decay` excluded.
        decays = inner_optimizer(self.optimizer)._use_weight_decay
        return config | {"undecayed": [i for i, v in enumerate(self.trainable_variables) if not decays(v)]}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        given = keras.saving.deserialize_keras_object(config)
        undecayed = given.pop("undecayed", [])
        variables = self.trainable_variables
        inner_optimizer(given["optimizer"]).exclude_from_weight_decay([variables[i] for i in undecayed])
        self.compile(**given)

    def answers(self, data: Arrays, due: Mapping[str, Bool[Array, ""]] | None = None) -> dict[str, Arrays]:
        """Returns what the networks that do not learn say of a batch, by role.

        Of a role that has its outputs under `answers` in the batch, those; the others compute.

        Args:
          data: the batch.
          due: whether a role is read, for each that might not be: its outputs are 0 then.
        """
        found = {role: in_float32(own) for role, own in data.get("answers", {}).items()}
        for role, network in self._fixed.items():
            if role in found:
                continue
            compute = functools.partial(outputs_of, {role: network}, data["images"], training=False)
            # A network within a condition cannot hold what replicas have in common.
            if due is None or role not in due or replica_count() > 1:
                found |= compute()
            else:
                nothing = functools.partial(no_outputs_of, {role: network}, data["images"])
                found |= tf.cond(due[role], compute, nothing)
        return found

    def train_step(self, data: Any) -> dict[str, Array]:
        data = batch_of(data)
        images, step = data["images"], self.optimizer.iterations
        variables, progress = self.trainable_variables, self.progress()
        weights, counts = self.objective.weights(progress), self.objective.counts(step)
        due = self.objective.due(step, progress)
        outputs = self.answers(data, self.objective.roles_due(due))
        with tf.GradientTape(persistent=True) as through_networks:
            made = returned_by(self._learning, images, training=True)
        read = read_by_terms(made)
        outputs |= read
        back = StepGradients(made, read, through_networks, variables)
        terms: dict[str, Array] = {}
        for group, compute in self.objective.parts(outputs, data["targets"]).items():
            terms |= back.add(group, compute, due.get(group[0]))
        means = {name: ops.mean(term) / replica_count() for name, term in terms.items()}
        is_due = ops.equal(step % GUARD_PERIOD, 0)
        squares = self._squares(back, is_due)
        # Only a loss-scaling optimiser has one, and divides the gradients again.
        scale = self.optimizer.scale_loss(ops.ones(()))
        gradients = back.of({g: scale * weights[g[0]] * counts[g[0]] for g in back.groups})
        self.balance.measure(over_replicas(means), step)
        self.balance.guard(over_replicas(squares), weights, is_due)
        self.objective.observe(outputs)
        self.optimizer.apply(shared_gradients(gradients, self.optimizer), variables)
        counted = {name: counts[name] * term for name, term in terms.items()}
        return self._report(counted, weights, details=True)

    def _squares(self, back: StepGradients, is_due: Bool[Array, ""]) -> Float[Array, " groups"]:
        """Returns the squared gradient at the taps of each of the balance's groups of terms."""
        targets = {s.name: s.target for s in self.objective.active}
        targets |= {name: role for role in self._learning for name in task_names(role)}

        def squared_gradients() -> Array:
            found = []
            for group in self.balance.groups:
                gradients = back.at_taps(targets[group[0]], group)
                found.append(sum(ops.sum(ops.square(g)) for g in gradients))
            return ops.stack([ops.cast(f, "float32") for f in found])

        zeros = ops.zeros(len(self.balance.groups))
        if not self.objective.active:
            return zeros
        if replica_count() > 1:
            # Gradients of synchronised batch norms cannot be taken within a condition.
            return squared_gradients() if self.balance.uses_gradients else zeros
        # Not in every step: it is one more pass through the head for every term.
        return tf.cond(is_due, squared_gradients, lambda: zeros)

    def test_step(self, data: Any) -> dict[str, Array]:
        data = batch_of(data)
        outputs = self.answers(data) | outputs_of(self._learning, data["images"], training=False)
        terms = self.objective.terms(outputs, data["targets"])
        return self._report(terms, self.objective.weights(self.progress()))

    def progress(self) -> Scalar:
        """Returns the fraction of the run that is done; 0.5, where ramps are flat, if it has no length."""
        if not self.balance.steps:
            return ops.convert_to_tensor(0.5)
        return ops.minimum(ops.cast(self.optimizer.iterations, "float32") / self.balance.steps, 1.0)

    def _report(self, terms: Arrays, weights: Arrays, details: bool = False) -> dict[str, Array]:
        weighted = {name: weights[name] * term for name, term in terms.items()}
        total = sum(weighted.values())
        values = {"total": total} | weighted
        shares = self.balance.shares() if details else {}
        for name in shares:
            values |= {
                f"raw_{name}": terms[name],
                f"weight_{name}": weights[name],
                f"share_{name}": shares[name],
            }
        self._means.update_state(values)
        logs = self._means.result()
        # Keras's own mean of the loss, which callbacks watch by default.
        for metric in self.metrics:
            if metric.name == LOSS:
                metric.update_state(total)
                logs[LOSS] = metric.result()
        return self.logged({name: logs[name] for name in (LOSS, *values) if name in logs})

    def call(self, images: Float[Array, "batch side side 3"], training: bool = False) -> Arrays:
        return self.student(resized(images, self.student), training=training)

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in _PARTS}
        return parts | {"learn_guide": self.learn_guide, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "Distiller":
        load = keras.saving.deserialize_keras_object
        # Older files hold the short form instead of an objective.
        saved = [name for name in (*_PARTS, "strategies") if name in config]
        return cls(**(config | {name: load(config[name], custom_objects) for name in saved}))
