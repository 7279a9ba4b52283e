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
from mkd_tf.data.pipeline.image_store import Boxes
from mkd_tf.data.pipeline.mixing import check_mixing
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors import Detector
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.detectors.teachers import assemble_teacher
from mkd_tf.evaluation.cost import parameters
from mkd_tf.evaluation.gallery import write_examples
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.results import (
    commit,
    empty_results,
    make_console,
    merge_role,
    percent,
    read_results,
    results_table,
    write_results,
)
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.schemas.training import ResultsFile, Role
from mkd_tf.training.backup import has_backup
from mkd_tf.training.compression_stage import CompressionSteps, prepare, settings_of
from mkd_tf.training.harm import HarmGuard, validations
from mkd_tf.training.images import Images
from mkd_tf.training.label_quality import MOST_IMAGES, label_quality
from mkd_tf.training.measuring import Measuring
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import Stage, plan
from mkd_tf.training.stage import train_stage
from mkd_tf.training.starting import start_networks
from mkd_tf.training.teacher_boxes import detect, read_rows, row_of, usable, with_teacher_boxes, write_rows
from mkd_tf.training.workdir import check_images, claim, claim_stage, compare, lock, read_done, write_done


class Run:
    """One training run in its work directory; `results.json` quotes the `command` that began it."""

    def __init__(self, config: Config, command: str = "", console: Console | None = None):
        self.config, self.console = config, console or make_console()
        compare(config)
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.say(f"reading {config.data.dataset}")
        self.dataset = open_dataset(config.data)
        self.stages = plan(config.roles, config.compression)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.networks = Networks(config, self.dataset.class_names, synchronized=replicas > 1)
        done = {s.role: Path(config.run.workdir, s.role, "best.keras") for s in self.stages}
        done = {role: path for role, path in done.items() if read_done(path.parent)}
        # A compression that is done is not built again; other networks are, for the stages that follow.
        self.networks.check([s for s in self.stages if not s.method or s.role not in done], done)
        self._check_splits()
        self._lock = lock(Path(config.run.workdir))
        with Progress(console=self.console, transient=True) as progress:
            self.images = Images.load(self.dataset, config, bar(progress, "reading images"))
        streams = [s for stage in self.stages for s in self.images.streams(stage.role)]
        check_mixing(config.augmentation, [(s.labelled, s.per_batch) for s in streams])
        check_images(Path(config.run.workdir), self.images.store.digest())
        self.folder = claim(config)
        self.measuring = Measuring(self.dataset, config.data)
        p, store = self.images, self.images.store
        if not store.is_cached:
            self.say(
                f"images would take {store.gigabytes:.1f} GiB of memory and may take "
                f"--cache_gb={config.data.cache_gb:g}: each is decoded again whenever it is used"
            )
        self.say(f"classes: {', '.join(self.dataset.class_names)}")
        share = f", {p.unlabelled_per_batch} of {config.optimizer.batch_size} in a batch"
        self.say(
            f"images: {len(p.teachers)} labelled for the teacher; "
            f"{len(p.labelled)} labelled and {len(p.unlabelled)} unlabelled for the student"
            + (share if len(p.unlabelled) else "")
        )
        stored = self.folder / "results.json"
        before = read_results(stored) if stored.exists() else empty_results()
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
        self.console.print(text, highlight=False, soft_wrap=True)

    def train(self) -> ResultsFile:
        """Runs every stage that is not done; returns the results.

        Raises:
          MkdError: for a mistake of the user; the same command goes on from there.
        """
        networks: dict[str, Detector] = {}
        for stage in self.stages:
            networks[stage.role] = self._trained(stage, networks)
            if stage.guide:
                networks["guide"] = load_detector(self.folder / "guide" / "best.keras")
        self._show(networks)
        return self.results

    def _show(self, networks: dict[str, Detector]) -> None:
        """Prints the table and draws the detections of each role."""
        for network in networks.values():
            self.measuring.point(network)
        runners = {role: KerasRunner(network) for role, network in networks.items()}
        write_examples(self.folder, self.dataset.split("test"), runners, self.config.data.fit)
        self.console.print(results_table(self.results))
        self.say(f"results: {self.folder / 'results.json'}; images: {self.folder / 'examples.png'}")
        # Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.say(f"peak memory: {peak:.1f} GiB")

    def _boxes(self, stage: Stage, networks: dict[str, Detector], anchors: Anchors) -> Boxes:
        """Returns the boxes to train on: the truth, and with a teacher its boxes on unlabelled images."""
        images = self.images
        if not stage.sources or not len(images.unlabelled):
            return images.store.truth
        path = self.folder / "teacher" / "boxes.npz"
        if not path.exists():
            runner = KerasRunner(networks["teacher"])
            with Progress(console=self.console, transient=True) as progress:
                shown = bar(progress, "teacher labels", len(images.unlabelled))
                found = detect(images.store, images.unlabelled, runner, shown)
            write_rows(path, images.unlabelled, found)
        if "teacher_labels" not in self.results:
            self._judge_labels(networks["teacher"], anchors)
        data = self.config.data
        limits = data.teacher_boxes, data.teacher_boxes_iou
        return with_teacher_boxes(images.store, images.unlabelled, read_rows(path), *limits)

    def _judge_labels(self, teacher: Detector, anchors: Anchors) -> None:
        """Measures how far the teacher's boxes agree with the labels of the student's labelled images."""
        store, data = self.images.store, self.config.data
        chosen = self.images.labelled[:MOST_IMAGES]
        if not len(chosen) or data.teacher_boxes >= 1:
            return
        found = detect(store, chosen, KerasRunner(teacher), lambda done, of: None)
        labels = [usable(row_of(d), data.teacher_boxes, data.teacher_boxes_iou) for d in found]
        truth, count = [store.row(i) for i in chosen.tolist()], len(self.dataset.class_names)
        quality = label_quality(anchors, truth, labels, count)
        self.results = {**self.results, "teacher_labels": quality}
        write_results(self.folder / "results.json", self.results)
        right = percent(quality["class_right"], "{:.0%}")
        self.say(
            f"the teacher's labels: {quality['boxes_per_image']:.1f} boxes an image; where objects are, "
            f"{right} of their weight has the right class ({len(chosen)} of its own training images)"
        )

    def _trained(self, stage: Stage, networks: dict[str, Detector]) -> Detector:
        """Trains a role unless that is done; returns the network in `best.keras`."""
        role, config, folder = stage.role, self.config, self.folder / stage.role
        entry = read_done(folder)
        if entry is not None:
            self.say(f"{role}: done before, test AP {percent(entry['AP'])}")
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
        role, per_epoch = stage.role, self.images.steps_per_epoch(stage.role)
        steps = stage.epochs * per_epoch
        learning = self._learning(stage, steps)
        student = learning["student"]
        boxes = self._boxes(stage, networks, student.anchors)
        others = networks | {r: n for r, n in learning.items() if r != "student"}
        size = parameters(student.inference())
        self.say(f"{role}: {stage.network}, {size:,} parameters, {stage.epochs} x {per_epoch} steps")
        common = self.config.optimizer
        rate = self.config.roles.learning_rate_of(role, common.learning_rate)
        more_callbacks = []
        if stage.method:
            rate = self.config.compression.compress_learning_rate
            claim_stage(self.folder / role, settings_of(stage, self.config))
            prepare(student, self.dataset, self.config)
            more_callbacks = [CompressionSteps(student)]
        anchors = {r: network.anchors for r, network in learning.items()}
        if not has_backup(self.folder / role / "backup"):  # Its weights replace those of a start.
            start_networks(stage, learning, networks, self.images, self.config, self.say)
        averaged = self._learning(stage, steps)
        if stage.method:
            # Else initial adapters depend on which networks this process, or a killed one, made before.
            self.networks.seed("student")
        outcome = train_stage(
            role,
            self.networks.distiller(stage, student, others, steps),
            averaged,
            lambda first: self.images.batches(role, boxes, anchors, first, steps),
            self.measuring.images("validation", student.image_size),
            self.folder / role,
            epochs=stage.epochs,
            steps_per_epoch=per_epoch,
            optimizer_config=dataclasses.replace(common, learning_rate=rate),
            run_config=self.config.run,
            console=self.console,
            more_callbacks=more_callbacks,
            on_row=self._guard() if role == "student" else None,
        )
        entry: dict[str, Any] = {"epochs": stage.epochs, "steps": steps}
        entry["seconds"] = round(outcome.seconds, 1)
        if stage.guide:
            # No epoch is selected for the guide: its last weights are its best.
            self._save_best("guide", averaged["guide"])
            self._finish("guide", averaged["guide"], dict(entry), networks["teacher"])
        entry["best_epoch"] = outcome.best_epoch
        self._finish(role, outcome.final, entry, networks.get("teacher"))

    def _guard(self) -> HarmGuard:
        alone, before = (validations(self.folder / r / "history.csv") for r in ("student_alone", "student"))
        return HarmGuard(alone, self.say, before)

    def _save_best(self, role: str, network: Detector) -> None:
        self.measuring.point(network)
        save_detector(network, self.folder / role / "best.keras")

    def _learning(self, stage: Stage, steps: int) -> dict[str, Any]:
        """Builds the networks that learn in a stage; the stage's own is the student there."""
        if stage.method:
            start = load_detector(self.folder / stage.start / "best.keras")
            return {"student": self.networks.compressed(stage, start, steps)}
        found = {"student": self.networks.build(stage.role, stage.network)}
        return found | ({"guide": self.networks.build("guide", stage.guide)} if stage.guide else {})

    def _finish(self, role: str, detector: Detector, entry: dict[str, Any], teacher: Detector | None) -> None:
        """Measures a trained role on the test split, marks its stage as done."""
        whole = cast(Role, self.measuring.measure(detector, teacher) | entry)
        if entry.get("best_epoch") not in (None, entry["epochs"]):
            whole["best_AP"] = self.measuring.ap(load_detector(self.folder / role / "best.keras"))
        write_done(self.folder / role, whole)
        found = f"AP {percent(whole['AP'])}, AP50 {percent(whole['AP50'])}"
        self.say(f"{role}: test {found}, {entry['seconds']:.0f} s")
        self._record(role, whole)

    def _record(self, role: str, entry: Role) -> None:
        self.results = merge_role(self.results, role, entry)
        write_results(self.folder / "results.json", self.results)
