"""Networks and distillers of a run, built from its configuration and its seed."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.compression import CompressedDetector
from mkd_tf.config import SEEDS_PER_RUN, Config
from mkd_tf.detection.from_detections import different_grids, joined_anchors
from mkd_tf.detection.precision import LayerPrecision
from mkd_tf.detectors import Detector, build_detector, takes_backbone_weights
from mkd_tf.detectors.files import in_precision, load_detector, take_weights
from mkd_tf.detectors.teachers import assemble_teacher
from mkd_tf.distillation.answers import Answers
from mkd_tf.distillation.balance import Balance
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.objective import Objective
from mkd_tf.distillation.outputs import port_of
from mkd_tf.distillation.task import DetectionTask
from mkd_tf.registry import parse_specs
from mkd_tf.strategies import STRATEGIES, Strategy
from mkd_tf.training.answer_terms import answers_only, guide_terms
from mkd_tf.training.fine_tuning import check_options, freeze, is_pretrained
from mkd_tf.training.integer_teacher import check_precision
from mkd_tf.training.parts import obtainable
from mkd_tf.training.plan import SOFT_SHARES, Stage
from mkd_tf.training.source_cache import check_cache

# Roles that share a number start from the same weights.
_INIT = {"teacher": 1, "guide": 2, "student_alone": 3, "student": 3}


class Networks:
    """Builds the networks of a run and their distillers; `synchronized` is about batch norms."""

    def __init__(self, config: Config, class_names: tuple[str, ...], synchronized: bool = False):
        self._config, self._class_names, self._synchronized = config, class_names, synchronized

    def build(self, role: str, spec: str, precision: str = "float32") -> Detector:
        """Builds a role's untrained network, or loads the teacher or guide that was given."""
        roles = self._config.roles
        size = roles.size_of(role)
        if roles.weights_of(role):
            return self._given(role, size)
        self.seed(role)
        with LayerPrecision(precision):
            network = build_detector(
                spec, roles.backbone_weights, image_size=size, class_names=self._class_names
            )
        if role.startswith("student") and roles.student_weights:
            take_weights(network, roles.student_weights)
        if is_pretrained(spec, roles):
            freeze(network, self._config.optimizer)
        if self._synchronized:
            synchronize(network)
        return network

    def seed(self, role: str) -> None:
        """Seeds the next initial weights: those of `role`, whatever this process has built before."""
        keras.utils.set_random_seed(self._config.run.seed * SEEDS_PER_RUN + _INIT[role])

    def _given(self, role: str, image_size: int) -> Detector:
        """Loads the network that `--<role>_weights` names.

        Raises:
          MkdError: if it is not a detector of these classes at this size.
        """
        path = self._config.roles.weights_of(role)
        network = assemble_teacher(path) if role == "teacher" else load_detector(path)
        if network.class_names != self._class_names:
            fail(
                f"{role} {path}",
                expected=f"the classes {', '.join(self._class_names)}",
                got=", ".join(network.class_names),
                do=f"Use a {role} of this data set's classes.",
            )
        if network.image_size != image_size:
            fail(
                f"{role} {path}",
                expected=f"images of {image_size} px",
                got=f"{network.image_size} px",
                do=f"Set --{role}_image_size={network.image_size}.",
            )
        return network

    def distiller(self, stage: Stage, network: Detector, others: Mapping[str, Any], steps: int) -> Distiller:
        """Returns what trains `network` in a stage, with the networks of its sources."""
        task, roles = self._config.task, self._config.roles
        strategies = strategies_of(stage.strategies)
        if stage.guide:
            # One balance for both: what are factors by default are shares beside those of `mkd`.
            is_default = roles.guide_strategies == type(roles).guide_strategies
            shares = stage.is_whole and stage.balance == "gradient_share" and is_default
            strategies += strategies_of(SOFT_SHARES if shares else guide_terms(roles), target="guide")
        objective = Objective(
            DetectionTask(task.beta, task.box_weight),
            strategies,
            Balance(stage.balance, task.gradient_cap, steps, self._config.optimizer.warmup_steps),
        )
        # A compressed network emulates integers in float32.
        precision = "float32" if stage.method else self._config.run.precision
        sources = self._sources(stage, network, others)
        fixed = [role for role in sources if role != "guide" or not stage.guide]
        sources |= {role: in_precision(sources[role], precision) for role in fixed}
        with LayerPrecision(precision):  # By its own policy Keras scales the loss.
            return Distiller(network, **sources, objective=objective, learn_guide=bool(stage.guide))

    def _sources(self, stage: Stage, network: Detector, others: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the networks that `network` learns from, or what answers in their place, by role."""
        if answers_only(self._config.roles.teacher):
            learning = {"student": network.anchors} | (
                {"guide": others["guide"].anchors} if stage.guide else {}
            )
            anchors = joined_anchors(different_grids(learning))
            others = {**others, "teacher": Answers(anchors, len(self._class_names))}
        return {role: others[role] for role in stage.sources}

    def in_precision(
        self, learning: dict[str, Detector], build: Callable[[str], dict[str, Detector]]
    ) -> dict[str, Detector]:
        """Returns networks with the weights of `learning` that compute in the run's precision."""
        precision = self._config.run.precision
        if precision == "float32":
            return learning
        built = build(precision)
        for role, network in built.items():
            network.set_weights(learning[role].get_weights())
        return built

    def compressed(self, stage: Stage, start: Detector, steps: int) -> CompressedDetector:
        """Returns the trained network `start` in the form that a compression trains.

        Raises:
          MkdError: if the method does not know a layer of it.
        """
        if tf.distribute.has_strategy():
            fail(
                f"stage {stage.role}",
                expected="one replica",
                got="--distribution=mirrored",
                do="Compress in a further run with --distribution=none, which takes up this work directory.",
            )
        return CompressedDetector(start, stage.method, steps)

    def check(
        self,
        stages: list[Stage],
        done: Mapping[str, Path] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> list[Stage]:
        """Builds every network and strategy once, so that a mistake shows before training.

        Args:
          stages: of the run, in their order.
          done: files of trained networks by role, whose initial weights are not needed again.
          say: prints a line, on a part of the whole method that these networks do not have.

        Returns:
          The stages, the whole method without such parts.
        """
        trained = done or {}
        given = self._config.roles.backbone_weights
        specs = [spec for stage in stages for spec in (stage.network, stage.guide) if spec]
        if given and not any(takes_backbone_weights(spec) for spec in specs):
            fail(
                "backbone_weights",
                expected="a network with such a backbone, as efficientnet_lite or resnet(depth=50)",
                got=", ".join(dict.fromkeys(specs)),
                do="Choose another --teacher or --student, or leave --backbone_weights out.",
            )
        check_options(self._config.optimizer, stages, self._config.roles)
        check_precision(self._config)
        check_cache(self._config)
        networks: dict[str, Detector] = {}
        found: list[Stage] = []
        for stage in stages:
            if stage.method:
                self.compressed(stage, networks["student"], 1)
                found.append(self._distilled(stage, networks["student"], networks, say))
                continue
            for role, spec in ((stage.role, stage.network), ("guide", stage.guide)):
                if role in trained:
                    networks[role] = load_detector(trained[role])
                elif spec:
                    networks[role] = self.build(role, spec)
            if stage.role == "teacher":
                views = self._config.roles.teacher_views
                networks["teacher"] = assemble_teacher(networks["teacher"], views)
                found.append(stage)
                continue
            found.append(self._distilled(stage, networks[stage.role], networks, say))
        return found

    def _distilled(
        self, stage: Stage, network: Detector, others: Mapping[str, Any], say: Callable[[str], None]
    ) -> Stage:
        """Builds a stage's distiller once; returns the stage with the parts that its networks have."""
        if stage.is_whole:
            sources = self._sources(stage, network, others)
            ports = {role: port_of(source) for role, source in sources.items()}
            specs, lines = obtainable(stage.strategies, ports | {"student": port_of(network)})
            for line in lines:
                say(f"{stage.role}: {line}")
            stage = dataclasses.replace(stage, strategies=specs)
        self.distiller(stage, network, others, steps=1)
        return stage


def strategies_of(specs: str, target: str = "student") -> list[Strategy]:
    """Builds strategies; the names of those with another target than the student begin with it."""
    made = []
    for spec in parse_specs(specs, "strategies"):
        if target == "student":
            made.append(STRATEGIES.build(spec))
            continue
        named = {"name": f"{target}_{spec.name}"} if "name" not in spec.arguments else {}
        made.append(STRATEGIES.build(spec, target=target, **named))
    return made


def synchronize(network: keras.Model) -> None:
    """Makes batch norms take their statistics over all replicas, as one replica would over the batch."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
        elif isinstance(layer, keras.Model):
            synchronize(layer)
