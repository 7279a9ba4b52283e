"""The distiller: one training step in which a student learns from labels, teacher and guide."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.objective import Objective
from mkd_tf.strategies.base import Port, Strategy


@keras.saving.register_keras_serializable("mkd_tf")
class Distiller(keras.Model):
    """Trains `student` against labels and against what `teacher` and `guide` know.

    A batch is `{"images": [B, S, S, 3] float32 in 0..255, "targets": {"student":
    {"labels", "boxes", "weights", "known"}}}` (see `targets.assign`); S is the
    largest input of the networks, each of which gets the same pictures at its size.
    Each network runs once per step. The teacher and the guide run in inference
    mode, get no gradient and are bit-identical after `fit`.

    Args:
      student: the detector that learns.
      teacher: a trained detector, or None to train on labels alone.
      guide: a trained detector between the two, or None.
      strategies: what is imitated; each with a name of its own.
      beta: exponent of the task's quality focal loss.
      box_weight: factor of the task's box term.
      steps: length of the run, for the strategies' ramps; None for no ramps.

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
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.student, self.teacher, self.guide = student, teacher, guide
        self.strategies = list(strategies)
        self.steps = steps
        fixed = {"teacher": teacher, "guide": guide}
        self._fixed = {role: network for role, network in fixed.items() if network is not None}
        # The task's own terms count: a strategy called "box" would hide the boxes' loss.
        names = ["total", "class", "box", *(s.name for s in strategies)]
        if len(set(names)) < len(names):
            fail(
                "strategies",
                expected="a name for each, other than total, class and box",
                got=", ".join(names[3:]),
                do="Give them name= of their own.",
            )
        ports = {role: port_of(network) for role, network in {"student": student, **self._fixed}.items()}
        for strategy in strategies:
            strategy.connect(ports)
        self.objective = Objective(student.anchors, strategies, beta, box_weight)
        self._means = {name: keras.metrics.Mean(name) for name in ("total", *self.objective.term_names)}
        self.built = True

    @property
    def trainable_variables(self) -> list:
        """The student's variables and the adapters'; never the teacher's or the guide's."""
        owners = [self.student, *(s for s in self.strategies if s.weight)]
        return [v for owner in owners for v in owner.trainable_variables]

    def train_step(self, data: dict) -> dict:
        images, targets = data["images"], data["targets"]
        outputs = {
            role: network(resized(images, network), training=False) for role, network in self._fixed.items()
        }
        with tf.GradientTape() as tape:
            outputs["student"] = self.student(resized(images, self.student), training=True)
            terms = self.objective(outputs, targets, self.progress())
            total = ops.mean(sum(terms.values()))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(total, variables), variables)
        return self._report(terms)

    def test_step(self, data: dict) -> dict:
        networks = self._fixed | {"student": self.student}
        outputs = {
            r: network(resized(data["images"], network), training=False) for r, network in networks.items()
        }
        return self._report(self.objective(outputs, data["targets"], self.progress()))

    def progress(self):
        """The fraction of the run that is done; with no `steps`, its middle, where ramps are flat."""
        if not self.steps:
            return ops.convert_to_tensor(0.5)
        return ops.minimum(ops.cast(self.optimizer.iterations, "float32") / self.steps, 1.0)

    def _report(self, terms: dict) -> dict:
        self._means["total"].update_state(sum(terms.values()))
        for name, term in terms.items():
            self._means[name].update_state(term)
        return {name: self._means[name].result() for name in ("total", *terms)}

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
    """Brings pictures `[B, S, S, 3]` to the network's input size, antialiased; same values at equal size."""
    size = network.image_size
    if images.shape[1] == size:
        return images
    return ops.image.resize(images, (size, size), interpolation="bilinear", antialias=True)
