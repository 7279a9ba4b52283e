"""A run: teacher, then guide, then the student alone (if asked) and the distilled student."""

import dataclasses
import resource
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data import DATASETS
from mkd_tf.data.store import Boxes
from mkd_tf.detectors import DETECTORS, Detector
from mkd_tf.detectors.files import load_detector, save_detector, take_weights
from mkd_tf.distiller import Distiller
from mkd_tf.evaluation.cost import macs, parameters
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.gallery import write_examples
from mkd_tf.evaluation.results import (
    commit,
    empty_results,
    merge_role,
    percent,
    print_results,
    read_results,
    write_results,
)
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.registry import parse_specs
from mkd_tf.strategies import STRATEGIES
from mkd_tf.training.pictures import Pictures
from mkd_tf.training.plan import Stage, plan
from mkd_tf.training.stage import train_stage
from mkd_tf.training.teacher_boxes import look, read_rows, with_teacher_boxes, write_rows
from mkd_tf.training.workdir import check_pictures, claim, compare, lock, read_done, write_done

# Roles that share a number start from the same weights.
_INIT = {"teacher": 1, "guide": 2, "student_alone": 3, "student": 3}


class Run:
    """One training run in its work directory.

    Args:
      config: everything the run depends on.
      command: how it was called, for `results.json`.
      console: where progress is shown.
    """

    def __init__(self, config: Config, command: str = "", console: Console | None = None):
        self.config, self.console = config, console or make_console()
        compare(config)
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.say(f"reading {config.data.dataset}")
        self.dataset = DATASETS.build(
            config.data.dataset,
            on_bad_example=config.data.on_bad_example,
            data_dir=config.data.data_dir or None,
        )
        self.stages = plan(config.roles)
        self._check()
        self._lock = lock(Path(config.run.workdir))
        self.pictures = Pictures.load(self.dataset, config)
        check_pictures(Path(config.run.workdir), self.pictures.store.digest())
        self.folder = claim(config)
        self._evaluation: dict[tuple[str, int], EvaluationSet] = {}
        p = self.pictures
        self.say(f"classes: {', '.join(self.dataset.class_names)}")
        self.say(
            f"pictures: {len(p.all_labelled)} labelled for the teacher; "
            f"{len(p.labelled)} labelled and {len(p.unlabelled)} unlabelled for the student"
        )
        before = self.folder / "results.json"
        known = read_results(before) if before.exists() else {"roles": {}, "files": {}}
        self.results = empty_results(
            command=command,
            commit=commit(),
            dataset={"name": config.data.dataset, "classes": list(self.dataset.class_names)},
            image_size=config.roles.image_size,
        )
        self.results |= {"roles": known["roles"], "files": known["files"]}

    def _check(self) -> None:
        """Builds every network and strategy once: a mistake shows now and not after an hour."""
        networks: dict[str, Detector] = {}
        for stage in self.stages:
            networks[stage.role] = self._network(stage)
            self._distiller(stage, networks[stage.role], networks, steps=1)
        missing = [s for s in ("train", "validation", "test") if s not in self.dataset.split_names]
        if missing:
            fail(
                f"data set {self.config.data.dataset}",
                expected="splits train, validation and test",
                got=f"no {', '.join(missing)}",
                do="Add its list, or remove the lists of splits to have them made.",
            )

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def train(self) -> dict[str, Any]:
        """Runs every stage that is not done; returns the results.

        Raises:
          MkdError: for what the user can mend; a later start goes on from there.
        """
        networks: dict[str, Detector] = {}
        for stage in self.stages:
            networks[stage.role] = self._trained(stage, networks)
        self._show(networks)
        return self.results

    def _show(self, networks: dict[str, Detector]) -> None:
        """Prints the table and draws what each role sees."""
        runners = {role: KerasRunner(network) for role, network in networks.items()}
        write_examples(self.folder, self.dataset.split("test"), runners, self.config.data.fit)
        print_results(self.results, self.console)
        self.say(f"results: {self.folder / 'results.json'}; pictures: {self.folder / 'examples.png'}")
        # Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.say(f"peak memory: {peak:.1f} GiB")

    def _network(self, stage: Stage) -> Detector:
        """Builds a role's untrained network, or loads the teacher that was given."""
        roles = self.config.roles
        size = roles.size_of(stage.role)
        if stage.role == "teacher" and roles.teacher_weights:
            return given_teacher(roles.teacher_weights, size, self.dataset.class_names)
        keras.utils.set_random_seed(self.config.run.seed * 10 + _INIT[stage.role])
        network = DETECTORS.build(stage.network, image_size=size, class_names=self.dataset.class_names)
        if stage.role.startswith("student") and roles.student_weights:
            take_weights(network, roles.student_weights)
        return network

    def _distiller(
        self, stage: Stage, network: Detector, networks: dict[str, Detector], steps: int
    ) -> Distiller:
        return Distiller(
            network,
            **{source: networks[source] for source in stage.sources},
            strategies=[STRATEGIES.build(spec) for spec in parse_specs(stage.strategies, "strategies")],
            beta=self.config.task.beta,
            box_weight=self.config.task.box_weight,
            steps=steps,
        )

    def _boxes(self, stage: Stage, networks: dict[str, Detector]) -> Boxes:
        """Returns the truth; for a role with a teacher, the teacher's boxes where it has no labels."""
        pictures = self.pictures
        if not stage.sources or not len(pictures.unlabelled):
            return pictures.store.truth
        path = self.folder / "teacher" / "boxes.npz"
        if not path.exists():
            runner = KerasRunner(networks["teacher"])
            with Progress(console=self.console, transient=True) as progress:
                task = progress.add_task("teacher labels", total=len(pictures.unlabelled))
                found = look(
                    pictures.store,
                    pictures.unlabelled,
                    runner,
                    lambda done, total: progress.update(task, completed=done),
                )
            write_rows(path, pictures.unlabelled, found)
        least = self.config.data.teacher_boxes
        return with_teacher_boxes(pictures.store, pictures.unlabelled, read_rows(path), least)

    def _trained(self, stage: Stage, networks: dict[str, Detector]) -> Detector:
        """Trains a role unless that is done; returns the network in `best.keras`."""
        role, config, folder = stage.role, self.config, self.folder / stage.role
        entry = read_done(folder)
        given = role == "teacher" and config.roles.teacher_weights
        if entry is not None:
            self.say(f"{role}: done before, test AP {percent(entry['AP'])}")
            self._record(role, entry)
        elif given:
            teacher = self._network(stage)
            save_detector(teacher, folder / "best.keras")
            self._finish(role, teacher, {"epochs": 0, "steps": 0, "seconds": 0.0})
        else:
            self._train(stage, networks)
        return load_detector(folder / "best.keras")

    def _train(self, stage: Stage, networks: dict[str, Detector]) -> None:
        role, per_epoch = stage.role, self.pictures.steps_per_epoch(stage.role)
        steps = stage.epochs * per_epoch
        boxes, distiller = (
            self._boxes(stage, networks),
            self._distiller(stage, self._network(stage), networks, steps),
        )
        student, averaged = distiller.student, self._network(stage)
        size = parameters(student.inference())
        self.say(f"{role}: {stage.network}, {size:,} parameters, {stage.epochs} x {per_epoch} steps")
        common = self.config.optimizer
        rate = self.config.roles.learning_rate_of(role, common.learning_rate)
        outcome = train_stage(
            role,
            distiller,
            averaged,
            lambda first: self.pictures.batches(role, boxes, student.anchors, first, steps),
            self.evaluation("validation", student.image_size),
            self.folder / role,
            epochs=stage.epochs,
            steps_per_epoch=per_epoch,
            optimizer_config=dataclasses.replace(common, learning_rate=rate),
            run_config=self.config.run,
            console=self.console,
        )
        self._finish(
            role,
            averaged,
            {
                "epochs": stage.epochs,
                "steps": steps,
                "seconds": round(outcome.seconds, 1),
                "best_epoch": outcome.best_epoch,
            },
        )

    def evaluation(self, split: str, image_size: int) -> EvaluationSet:
        """Returns a split's pictures at an input size, decoded once."""
        key = (split, image_size)
        if key not in self._evaluation:
            pictures = self.dataset.split(split)
            self._evaluation[key] = EvaluationSet.from_split(pictures, image_size, self.config.data.fit)
        return self._evaluation[key]

    def _finish(self, role: str, detector: Detector, entry: dict[str, Any]) -> None:
        """Measures a trained role on the test split, marks its stage as done."""
        pictures = self.evaluation("test", detector.image_size)
        metrics = pictures.evaluate(KerasRunner(detector), self.dataset.class_names)
        model = detector.inference()
        cost = {"parameters": parameters(model), "macs": macs(model), "image_size": detector.image_size}
        best = self.folder / role / "best.keras"
        if entry.get("best_epoch") not in (None, entry["epochs"]):
            selected = pictures.evaluate(KerasRunner(load_detector(str(best))), self.dataset.class_names)
            entry |= {"best_AP": selected["AP"]}
        entry = metrics | cost | entry | {"split": "test"}
        write_done(self.folder / role, entry)
        found = ", ".join(f"{name} {percent(metrics[name])}" for name in ("AP", "AP50"))
        self.say(f"{role}: test {found}, {entry['seconds']:.0f} s")
        self._record(role, entry)

    def _record(self, role: str, entry: dict[str, Any]) -> None:
        self.results = merge_role(self.results, role, entry)
        write_results(self.folder / "results.json", self.results)


def given_teacher(path: str, image_size: int, class_names: tuple[str, ...]) -> Detector:
    """Loads a teacher that was trained before.

    Raises:
      MkdError: if it is not a detector of these classes at this size.
    """
    teacher = load_detector(path)
    if teacher.class_names != class_names:
        fail(
            f"teacher {path}",
            expected=f"the classes {', '.join(class_names)}",
            got=", ".join(teacher.class_names),
            do="Use a teacher of this data set's classes.",
        )
    if teacher.image_size != image_size:
        fail(
            f"teacher {path}",
            expected=f"pictures of {image_size} px",
            got=f"{teacher.image_size} px",
            do=f"Set --teacher_image_size={teacher.image_size}.",
        )
    return teacher


def make_console() -> Console:
    """Returns where a run reports; a log has no width of its own, and a table needs one."""
    console = Console()
    return console if console.is_terminal else Console(width=110)
