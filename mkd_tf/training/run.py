"""A run: teacher, then guide, then with --baseline the student alone, and the distilled student."""

import dataclasses
import resource
from pathlib import Path
from typing import Any, cast

import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data import open_dataset
from mkd_tf.data.pipeline.mixing import check_mixing
from mkd_tf.detectors import Detector
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.detectors.teachers import assemble_teacher
from mkd_tf.evaluation.console import make_console, say
from mkd_tf.evaluation.cost import parameters
from mkd_tf.evaluation.gallery import write_examples
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.results import (
    commit,
    merge_role,
    percent,
    results_table,
    take_results,
    write_results,
)
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.schemas.training import ResultsFile, Role
from mkd_tf.training.advice import Advice
from mkd_tf.training.answered_run import answered_run
from mkd_tf.training.backup import has_backup
from mkd_tf.training.compression_stage import CompressionSteps, mean_the_same, prepare, settings_of
from mkd_tf.training.fine_tuning import pretrained_of
from mkd_tf.training.finished import take_done, write_done
from mkd_tf.training.harm import HarmGuard, validations
from mkd_tf.training.images import Images
from mkd_tf.training.integer_teacher import integer_teacher
from mkd_tf.training.measuring import Measuring
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import Stage, plan
from mkd_tf.training.stage import train_stage
from mkd_tf.training.starting import start_networks
from mkd_tf.training.teaching import Teaching
from mkd_tf.training.workdir import changed_settings, check_images, claim, claim_stage, compare, lock


class Run:
    """One training run in its work directory; `results.json` quotes the `command` that began it."""

    def __init__(
        self,
        config: Config,
        command: str = "",
        console: Console | None = None,
        advice: Advice | None = None,
    ):
        self.advice = advice or Advice(config)
        self.config, self.console = config, console or make_console()
        config = self.advice.config
        compare(config)
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.say(f"reading {config.data.dataset}")
        self.dataset = open_dataset(config.data)
        self.config = config = self.advice.look(self.dataset, self.console)
        self.stages = plan(config.roles, config.compression)
        answered = answered_run(config, self.dataset, self.console)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.networks = Networks(config, self.dataset.class_names, synchronized=replicas > 1)
        done = {s.role: Path(config.run.workdir, s.role, "best.keras") for s in self.stages}
        done = {role: path for role, path in done.items() if take_done(path.parent)[0]}
        # A compression that is done is not built again; other networks are, for the stages that follow.
        self.networks.check([s for s in self.stages if not s.method or s.role not in done], done)
        self._check_splits()
        self._lock = lock(Path(config.run.workdir))
        with Progress(console=self.console, transient=True) as progress:
            self.images = Images.load(self.dataset, config, bar(progress, "reading images"))
        streams = [s for stage in self.stages for s in self.images.streams(stage.role)]
        check_mixing(config.augmentation, [(s.labelled, s.per_batch) for s in streams])
        store = self.images.store
        check_images(Path(config.run.workdir), store.digest(), store.content_digest())
        self.folder = claim(config)
        self.measuring = Measuring(self.dataset, config.data)
        parts = self.images, self.measuring, self.folder, self.console, answered
        self.teaching = Teaching(
            config, self.dataset.class_names, *parts, results=lambda: self.results, record=self._note
        )
        p, store = self.images, self.images.store
        if not store.is_cached:
            kept = f"a file in {config.run.workdir} holds them while the run lasts"
            then = kept if store.is_on_disk else "each is decoded again whenever it is used"
            self.say(
                f"images would take {store.gigabytes:.1f} GiB of memory and may take "
                f"--cache_gb={config.data.cache_gb:g}: {then}"
            )
        self.say(f"classes: {', '.join(self.dataset.class_names)}")
        share = f", {p.unlabelled_per_batch} of {config.optimizer.batch_size} in a batch"
        self.say(
            f"images: {f'{len(p.teachers)} labelled for the teacher; ' if answered is None else ''}"
            f"{len(p.labelled)} labelled and {len(p.unlabelled)} unlabelled for the student"
            + (share if len(p.unlabelled) else "")
        )
        before, damage = take_results(self.folder / "results.json")
        if damage:
            self.say(damage)
        self.results: ResultsFile = {
            "schema": 1,
            "command": command,
            "commit": commit(),
            "dataset": {"name": config.data.dataset, "classes": list(self.dataset.class_names)},
            "image_size": config.roles.image_size,
            "roles": before["roles"],
            "files": before["files"],
        }
        if "teacher_labels" in before:
            self.results["teacher_labels"] = before["teacher_labels"]
        if "teacher_gate" in before:
            self.results["teacher_gate"] = before["teacher_gate"]

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
        self.teaching.begin()
        self.advice.started()
        for stage in self.stages:
            networks[stage.role] = self._trained(stage, networks)
            if stage.role == "teacher":
                given = bool(self.config.roles.teacher_weights)
                self.teaching.gate(networks["teacher"], given)
            if stage.guide:
                networks["guide"] = load_detector(self.folder / "guide" / "best.keras")
        self._show(networks)
        return self.results

    def _show(self, networks: dict[str, Detector]) -> None:
        """Prints the table and draws the detections of each role."""
        for network in networks.values():
            self.measuring.point(network)
        runners = {role: KerasRunner(network) for role, network in networks.items()}
        answers = {} if self.measuring.answers is None else {"teacher": self.measuring.answers}
        write_examples(self.folder, self.dataset.split("test"), runners, self.config.data.fit, answers)
        self.console.print(results_table(self.results))
        self._note(diagnosis=self.advice.diagnose(self.results))
        for finding in self.results["diagnosis"]:
            self.say(f"diagnosis: {finding['text']}")
        self.say(f"results: {self.folder / 'results.json'}; images: {self.folder / 'examples.png'}")
        # Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.say(f"peak memory: {peak:.1f} GiB")

    def _trained(self, stage: Stage, networks: dict[str, Detector]) -> Detector:
        """Trains a role unless that is done; returns the network in `best.keras`."""
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
            self._record(role, entry)
        elif config.roles.weights_of(role):
            given = self.networks.build(role, stage.network)
            given.operating_point = None  # It may be that of another data set.
            self._save_best(role, given)
            self._finish(role, given, {"epochs": 0, "steps": 0, "seconds": 0.0}, networks.get("teacher"))
        else:
            self._train(stage, networks)
        network = load_detector(folder / "best.keras")
        # A second view doubles the cost: only the network that others are distilled from has it.
        return assemble_teacher(network, config.roles.teacher_views) if role == "teacher" else network

    def _train(self, stage: Stage, networks: dict[str, Detector]) -> None:
        stage = self.advice.settle(stage)
        more_callbacks: list[Any] = self.advice.watch(stage, self.dataset, self.networks, self.say)
        role, per_epoch = stage.role, self.images.steps_per_epoch(stage.role)
        steps = stage.epochs * per_epoch
        learning = self._learning(stage, steps)
        student = learning["student"]
        boxes = self.teaching.boxes(stage, networks, student.anchors)
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
        if not has_backup(self.folder / role / "backup"):  # Its weights replace those of a start.
            start_networks(stage, learning, networks, self.images, self.config, self.say)
        averaged = self._learning(stage, steps)
        if not stage.method:
            learning = self.networks.in_precision(learning, lambda p: self._learning(stage, steps, p))
        others: dict[str, Any] = networks | {r: n for r, n in learning.items() if r != "student"}

        def batches(first: int) -> tf.data.Dataset:
            return self.images.batches(role, boxes, anchors, first, steps, soft)

        if self.config.roles.teacher_precision == "int8" and "teacher" in stage.sources:
            others["teacher"] = integer_teacher(stage, networks["teacher"], batches, self.config, self.say)
        if stage.method:
            # Else initial adapters depend on which networks this process, or a killed one, made before.
            self.networks.seed("student")
        outcome = train_stage(
            role,
            self.networks.distiller(stage, learning["student"], others, steps),
            averaged,
            batches,
            self.measuring.images("validation", student.image_size),
            self.folder / role,
            epochs=stage.epochs,
            steps_per_epoch=per_epoch,
            optimizer_config=dataclasses.replace(common, learning_rate=rate),
            run_config=self.config.run,
            console=self.console,
            pretrained=pretrained_of(stage, self.config.roles),
            more_callbacks=more_callbacks,
            on_row=self._guard() if role == "student" else None,
        )
        entry: dict[str, Any] = {"epochs": stage.epochs, "steps": steps}
        entry["seconds"] = round(outcome.seconds, 1)
        if stage.guide:
            # No epoch is selected for the guide: its last weights are its best.
            self._save_best("guide", averaged["guide"])
            self._finish("guide", averaged["guide"], dict(entry), networks.get("teacher"))
        entry["best_epoch"] = outcome.best_epoch
        self._finish(role, outcome.final, entry, networks.get("teacher"))
        self.advice.ended(role)

    def _guard(self) -> HarmGuard:
        alone, before = (validations(self.folder / r / "history.csv") for r in ("student_alone", "student"))
        return HarmGuard(alone, self.say, before)

    def _save_best(self, role: str, network: Detector) -> None:
        self.measuring.point(network)
        save_detector(network, self.folder / role / "best.keras")

    def _learning(self, stage: Stage, steps: int, precision: str = "float32") -> dict[str, Any]:
        """Builds the networks that learn in a stage; the stage's own is the student there."""
        if stage.method:
            start = load_detector(self.folder / stage.start / "best.keras")
            return {"student": self.networks.compressed(stage, start, steps)}
        specs = {"student": (stage.role, stage.network)}
        specs |= {"guide": ("guide", stage.guide)} if stage.guide else {}
        return {name: self.networks.build(*spec, precision) for name, spec in specs.items()}

    def _finish(self, role: str, detector: Detector, entry: dict[str, Any], teacher: Detector | None) -> None:
        """Measures a trained role on the test split, marks its stage as done."""
        whole = cast(Role, self.measuring.measure(detector, teacher) | entry)
        if entry.get("best_epoch") not in (None, entry["epochs"]):
            whole["best_AP"] = self.measuring.ap(load_detector(self.folder / role / "best.keras"))
        write_done(self.folder / role, whole)
        found = f"AP {percent(whole['AP'])}, AP50 {percent(whole['AP50'])}"
        self.say(f"{role}: test {found}, {entry['seconds']:.0f} s")
        self._record(role, whole)

    def _note(self, **keys: Any) -> None:
        """Writes further keys of `results.json`."""
        self.results = cast(ResultsFile, {**self.results, **keys})
        write_results(self.folder / "results.json", self.results)

    def _record(self, role: str, entry: Role) -> None:
        self.results = merge_role(self.results, role, entry)
        write_results(self.folder / "results.json", self.results)
