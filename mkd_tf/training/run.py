"""A run: teacher, then guide, then with --baseline the student alone, and the distilled student."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data import open_dataset
from mkd_tf.data.pipeline.image_store import Boxes
from mkd_tf.data.pipeline.mixing import check_mixing
from mkd_tf.data.pipeline.reuse import Reuse
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.detectors.teachers import assemble_teacher
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.evaluation.console import make_console, say
from mkd_tf.evaluation.cost import parameters
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.results import percent
from mkd_tf.schemas.training import ResultsFile
from mkd_tf.training.advice import Advice
from mkd_tf.training.answered_run import answered_run
from mkd_tf.training.backup import has_backup
from mkd_tf.training.compression_stage import CompressionSteps, mean_the_same, prepare, settings_of
from mkd_tf.training.fine_tuning import pretrained_of
from mkd_tf.training.finished import take_done
from mkd_tf.training.harm import HarmGuard, validations
from mkd_tf.training.images import Images
from mkd_tf.training.integer_teacher import integer_teacher
from mkd_tf.training.measuring import Measuring
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import Stage, plan
from mkd_tf.training.recording import Recording
from mkd_tf.training.source_cache import forget, source_cache
from mkd_tf.training.stage import Outcome, train_stage
from mkd_tf.training.starting import start_networks
from mkd_tf.training.teaching import Teaching
from mkd_tf.training.workdir import changed_settings, check_images, claim, claim_stage, compare, lock
from mkd_tf.training.workers import Workers


class Run:
    """One training run in its work directory; `results.json` quotes the `command` that began it."""

    def __init__(
        self,
        config: Config,
        command: str = "",
        console: Console | None = None,
        advice: Advice | None = None,
        workers: Workers | None = None,
    ):
        self.workers = workers or Workers()
        self.advice = advice or Advice(config)
        # One worker of several tells the run.
        console = console or (make_console() if self.workers.is_chief else Console(quiet=True))
        self.config, self.console = config, console
        config = self.advice.config
        self.workers.check_batch(config.optimizer.batch_size)
        compare(config)
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.say(f"reading {config.data.dataset}")
        self.dataset = open_dataset(config.data)
        self.config = config = self.advice.look(self.dataset, self.console)
        self.stages = plan(config.roles, config.compression, config.task.balance)
        answered = answered_run(config, self.dataset, self.console)
        self.networks = Networks(config, self.dataset.class_names, synchronized=self.workers.replicas > 1)
        done = {s.role: Path(config.run.workdir, s.role, "best.keras") for s in self.stages}
        done = {role: path for role, path in done.items() if take_done(path.parent)[0]}
        # A compression that is done is not built again; other networks are, for the stages that follow.
        ahead = [s for s in self.stages if not s.method or s.role not in done]
        checked = {s.role: s for s in self.networks.check(ahead, done, self.say)}
        self.stages = [checked.get(s.role, s) for s in self.stages]
        self._check_splits()
        self._lock = self.workers.on_chief(lambda: lock(Path(config.run.workdir)))
        # A folder that machines share is no place for a file that each of them reads all the time.
        local = Path(tempfile.gettempdir()) if self.workers.count > 1 else None
        with Progress(console=self.console, transient=True) as progress:
            self.images = Images.load(self.dataset, config, bar(progress, "reading images"), local)
        streams = [s for stage in self.stages for s in self.images.streams(stage.role)]
        check_mixing(config.augmentation, [(s.labelled, s.per_batch) for s in streams])
        self.folder = self._claimed()
        self.measuring = Measuring(self.dataset, config.data)
        self.record = Recording(config, command, self.dataset, self.measuring, self.console, self.workers)
        parts = self.images, self.measuring, self.folder, self.console, answered
        self.teaching = Teaching(
            config,
            self.dataset.class_names,
            *parts,
            results=lambda: self.record.results,
            record=self.record.note,
        )
        self.say(f"classes: {', '.join(self.dataset.class_names)}")
        for line in self.images.described(local or self.folder, has_network=answered is None):
            self.say(line)

    def _claimed(self) -> Path:
        """Ties the work directory to the flags and images of this run; returns it."""
        folder, store = Path(self.config.run.workdir), self.images.store
        digests = store.digest(), store.content_digest()

        def claimed() -> None:
            check_images(folder, *digests)
            claim(self.config)

        self.workers.on_chief(claimed)
        self.workers.same_file(folder / "images.sha256")
        if not self.workers.is_chief:
            check_images(folder, *digests)
        return folder

    def _check_splits(self) -> None:
        missing = [s for s in ("train", "validation", "test") if s not in self.dataset.split_names]
        if missing:
            fail(
                f"data set {self.config.data.dataset}",
                expected="splits train, validation and test",
                got=f"no {', '.join(missing)}",
                do="Add images or a list of them for it, or remove all lists of splits to have them made. "
                "A coco_json set with a file for one split needs test_annotations=...",
            )

    def say(self, text: str) -> None:
        """Prints a line."""
        say(self.console, text)

    def train(self) -> ResultsFile:
        """Runs every stage that is not done; returns the results.

        Raises:
          MkdError: for a mistake of the user; the same command goes on from there.
        """
        networks: dict[str, Detector] = {}
        self.workers.on_chief(self.teaching.begin)
        self.advice.started()
        for stage in self.stages:
            networks[stage.role] = self._trained(stage, networks)
            if stage.role == "teacher":
                given = bool(self.config.roles.teacher_weights)
                self.workers.on_chief(functools.partial(self.teaching.gate, networks["teacher"], given))
            if stage.guide:
                networks["guide"] = self._best("guide")
        self.workers.on_chief(lambda: self.record.show(networks, self.advice))
        return self.record.results

    def _best(self, role: str) -> Detector:
        """Loads the network of a finished stage, on all replicas."""
        path = self.workers.same_file(self.folder / role / "best.keras")
        with self.workers.scope():
            return load_detector(path)

    def _trained(self, stage: Stage, networks: dict[str, Detector]) -> Detector:
        """Trains a role unless that is done; returns the network in `best.keras`."""
        done = self.workers.on_chief(lambda: self._done_before(stage, networks))
        if not self.workers.of_all(int(bool(done)))[0]:
            self._train(stage, networks)
        network = self._best(stage.role)
        # A second view doubles the cost: only the network that others are distilled from has it.
        return (
            assemble_teacher(network, self.config.roles.teacher_views) if stage.role == "teacher" else network
        )

    def _done_before(self, stage: Stage, networks: dict[str, Detector]) -> bool:
        """Whether there is nothing to train: a role is done, or was given."""
        role, config, folder = stage.role, self.config, self.folder / stage.role
        entry, damage = take_done(folder)
        if damage:
            self.say(f"{role}: {damage} It is finished again from its backup.")
        if entry is not None:
            self.say(f"{role}: done before, test AP {percent(entry['AP'])}")
            if stage.method:
                # It stays as it is: flags of compressions are free, for further ones.
                settings = settings_of(self.advice.settle(stage), config)
                for change in changed_settings(folder, settings, mean_the_same):
                    self.say(f"{role}: begun with another setting: {change}; for the new one delete {folder}")
            self.record.role(role, entry)
        elif config.roles.weights_of(role):
            given = self.networks.build(role, stage.network)
            given.operating_point = None  # It may be that of another data set.
            self.record.save_best(role, given)
            self.record.finish(
                role, given, {"epochs": 0, "steps": 0, "seconds": 0.0}, networks.get("teacher")
            )
        else:
            return False
        return True

    def _train(self, stage: Stage, networks: dict[str, Detector]) -> None:
        stage = self.advice.settle(stage)
        more_callbacks: list[Any] = []
        if self.workers.is_chief:
            more_callbacks += self.advice.watch(stage, self.dataset, self.networks, self.say)
        role, per_epoch = stage.role, self.images.steps_per_epoch(stage.role)
        steps = stage.epochs * per_epoch
        workers, scope = self.workers, self.workers.scope
        with scope():
            learning = self._learning(stage, steps)
        student = learning["student"]
        boxes = self._boxes(stage, networks, student.anchors)
        soft = self.teaching.places(stage)
        size = parameters(student.inference())
        self.say(f"{role}: {stage.network}, {size:,} parameters, {stage.epochs} x {per_epoch} steps")
        common = self.config.optimizer
        rate = self.config.roles.learning_rate_of(role, common.learning_rate)
        if stage.method:
            rate = self.config.compression.compress_learning_rate
            claim_stage(self.folder / role, settings_of(stage, self.config), mean_the_same)
            prepare(student, self.dataset, self.config)
            more_callbacks.append(CompressionSteps(student))
        anchors = {r: network.anchors for r, network in learning.items()}
        begun = stage, learning, networks, self.images, self.config, self.say
        # A backup's weights replace those of a start; with it other workers get them.
        is_begun = has_backup(self.folder / role / "backup")
        workers.on_chief(lambda: None if is_begun else start_networks(*begun))
        with scope():
            averaged = self._learning(stage, steps)
            if not stage.method:
                learning = self.networks.in_precision(learning, lambda p: self._learning(stage, steps, p))
        others: dict[str, Any] = networks | {r: n for r, n in learning.items() if r != "student"}
        drawn: Callable[..., tf.data.Dataset] = functools.partial(
            self.images.batches, role, boxes, anchors, steps=steps, soft=soft
        )
        if self.config.roles.teacher_precision == "int8" and "teacher" in stage.sources:
            others["teacher"] = integer_teacher(stage, networks["teacher"], drawn, self.config, self.say)
        if stage.method:
            # Else initial adapters depend on which networks this process, or a killed one, made before.
            self.networks.seed("student")
        with scope():
            distiller = self.networks.distiller(stage, learning["student"], others, steps)
        if self.config.roles.teacher_cache and stage.sources:
            drawn = self._answered(role, distiller, drawn)
        outcome = train_stage(
            role,
            distiller,
            averaged,
            lambda first: workers.shared(lambda part: drawn(first, part=part), common.batch_size),
            self.measuring.images("validation", student.image_size) if workers.is_chief else None,
            self.folder / role,
            epochs=stage.epochs,
            steps_per_epoch=per_epoch,
            optimizer_config=dataclasses.replace(common, learning_rate=rate),
            run_config=self.config.run,
            console=self.console,
            pretrained=pretrained_of(stage, self.config.roles),
            more_callbacks=more_callbacks,
            on_row=self._guard() if role == "student" else None,
            workers=workers,
        )
        forget(self.folder / role)
        ended = stage, steps, cast(Outcome, outcome), averaged, networks.get("teacher")
        workers.on_chief(lambda: self.record.stage(*ended))
        self.advice.ended(role)

    def _answered(
        self, role: str, distiller: Distiller, drawn: Callable[..., tf.data.Dataset]
    ) -> Callable[..., tf.data.Dataset]:
        """Returns a stage's batches with what its sources say of them, kept from their first time on."""
        again = functools.partial(drawn, reuse=Reuse(self.config.roles.teacher_cache))
        folder = self.folder / role
        cache = source_cache(
            role, distiller, again(0).element_spec, self.images, self.config, folder, self.say
        )
        return drawn if cache is None else lambda first, part: cache.answered(again(first, part=part))

    def _boxes(self, stage: Stage, networks: dict[str, Detector], anchors: Anchors) -> Boxes:
        """Returns the boxes to train on; the chief makes those of the teacher, and the others read them."""
        made = self.workers.on_chief(lambda: self.teaching.boxes(stage, networks, anchors))
        self.record.follow()
        self.workers.same_file(self.folder / "teacher" / "boxes.npz")
        if made is not None:
            return made
        return self.teaching.boxes(stage, networks, anchors)

    def _guard(self) -> HarmGuard:
        alone, before = (validations(self.folder / r / "history.csv") for r in ("student_alone", "student"))
        return HarmGuard(alone, self.say, before)

    def _learning(self, stage: Stage, steps: int, precision: str = "float32") -> dict[str, Any]:
        """Builds the networks that learn in a stage; the stage's own is the student there."""
        if stage.method:
            start = load_detector(self.folder / stage.start / "best.keras")
            return {"student": self.networks.compressed(stage, start, steps)}
        specs = {"student": (stage.role, stage.network)}
        specs |= {"guide": ("guide", stage.guide)} if stage.guide else {}
        return {name: self.networks.build(*spec, precision) for name, spec in specs.items()}
