"""A run: teacher, then guide, then the student alone (if asked) and the distilled student."""

import time
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data import DATASETS
from mkd_tf.data.store import Boxes
from mkd_tf.detectors import DETECTORS, Detector
from mkd_tf.detectors.files import load_detector, take_weights
from mkd_tf.distiller import Distiller
from mkd_tf.evaluation.cost import macs, parameters
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.gallery import write_examples
from mkd_tf.evaluation.results import empty_results, print_results, write_results
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.registry import parse_specs
from mkd_tf.strategies import STRATEGIES, Strategy
from mkd_tf.training.pictures import Pictures
from mkd_tf.training.stage import Outcome, train_stage
from mkd_tf.training.teacher_boxes import look, read_rows, with_teacher_boxes, write_rows
from mkd_tf.training.workdir import claim, read_done, write_done

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
        self.config, self.console = config, console or Console()
        self.folder = claim(config)
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.say(f"reading {config.data.dataset}")
        self.dataset = DATASETS.build(
            config.data.dataset,
            on_bad_example=config.data.on_bad_example,
            data_dir=config.data.data_dir or None,
        )
        self.pictures = Pictures.load(self.dataset, config)
        self._evaluation: dict[tuple[str, int], EvaluationSet] = {}
        p = self.pictures
        self.say(f"classes: {', '.join(self.dataset.class_names)}")
        self.say(
            f"pictures: {len(p.all_labelled)} labelled for the teacher; "
            f"{len(p.labelled)} labelled and {len(p.unlabelled)} unlabelled for the student"
        )
        self.results = empty_results(
            command=command,
            dataset={"name": config.data.dataset, "classes": list(self.dataset.class_names)},
            image_size=config.roles.image_size,
        )

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def train(self) -> dict[str, Any]:
        """Runs every stage that is not done; returns the results.

        Raises:
          MkdError: for what the user can mend; a later start goes on from there.
        """
        roles = self.config.roles
        teacher = self._teacher()
        teacher_boxes = self._teacher_boxes(teacher)
        guide = None
        if roles.has_guide:
            guide = self._stage(
                "guide", roles.guide, roles.guide_strategies, {"teacher": teacher}, teacher_boxes
            )
        fixed = {"teacher": teacher} | ({"guide": guide} if guide else {})
        if roles.baseline:
            self._stage("student_alone", roles.student, "", {}, self.pictures.store.truth)
        self._stage("student", roles.student, roles.strategies, fixed, teacher_boxes)
        self._show()
        return self.results

    def _show(self) -> None:
        """Prints the table and draws what each role sees."""
        runners = {}
        for role in self.results["roles"]:
            path = self.folder / role / "best.keras"
            detector = load_detector(path if path.exists() else self.config.roles.teacher_weights)
            runners[role] = KerasRunner(detector)
        write_examples(self.folder, self.dataset.split("test"), runners, self.config.data.fit)
        print_results(self.results, self.console)
        self.say(f"results: {self.folder / 'results.json'}; pictures: {self.folder / 'examples.png'}")

    def _teacher(self) -> Detector:
        roles = self.config.roles
        if not roles.teacher_weights:
            return self._stage("teacher", roles.teacher, "", {}, self.pictures.store.truth)
        teacher = load_detector(roles.teacher_weights)
        if teacher.class_names != self.dataset.class_names:
            fail(
                f"teacher {roles.teacher_weights}",
                expected=f"the classes {', '.join(self.dataset.class_names)}",
                got=", ".join(teacher.class_names),
                do="Use a teacher of this data set's classes.",
            )
        self._finish(
            "teacher", teacher, {"epochs": 0, "steps": 0, "seconds": 0.0, "weights": roles.teacher_weights}
        )
        return teacher

    def _teacher_boxes(self, teacher: Detector) -> Boxes:
        pictures, least = self.pictures, self.config.data.teacher_boxes
        if not len(pictures.unlabelled):
            return pictures.store.truth
        path = self.folder / "teacher_boxes.npz"
        if not path.exists():
            began = time.monotonic()
            found = look(pictures.store, pictures.unlabelled, KerasRunner(teacher), lambda done, total: None)
            write_rows(path, pictures.unlabelled, found)
            self.say(f"teacher labelled {len(found)} pictures in {time.monotonic() - began:.0f} s")
        return with_teacher_boxes(pictures.store, pictures.unlabelled, read_rows(path), least)

    def _detector(self, role: str, spec: str) -> Detector:
        size = self.config.roles.size_of(role)
        return DETECTORS.build(spec, image_size=size, class_names=self.dataset.class_names)

    def _stage(
        self, role: str, spec: str, strategies: str, fixed: dict[str, Detector], boxes: Boxes
    ) -> Detector:
        """Trains a role unless that is done; returns the network in `best.keras`."""
        folder, config = self.folder / role, self.config
        entry = read_done(folder)
        if entry is None:
            epochs = getattr(config.roles, "student_epochs" if role == "student_alone" else f"{role}_epochs")
            per_epoch = self.pictures.steps_per_epoch(role)
            keras.utils.set_random_seed(config.run.seed * 10 + _INIT[role])
            student, averaged = self._detector(role, spec), self._detector(role, spec)
            if role.startswith("student") and config.roles.student_weights:
                take_weights(student, config.roles.student_weights)
            distiller = Distiller(
                student,
                fixed.get("teacher"),
                fixed.get("guide"),
                make_strategies(strategies),
                beta=config.task.beta,
                box_weight=config.task.box_weight,
                steps=epochs * per_epoch,
            )
            size = parameters(student.inference())
            self.say(f"{role}: {spec}, {size:,} parameters, {epochs} x {per_epoch} steps")
            outcome = train_stage(
                role,
                distiller,
                averaged,
                lambda first: self.pictures.batches(role, boxes, student.anchors, first, epochs * per_epoch),
                self.evaluation("validation", student.image_size),
                folder,
                epochs=epochs,
                steps_per_epoch=per_epoch,
                optimizer_config=config.optimizer,
                run_config=config.run,
                console=self.console,
            )
            self._finish(role, averaged, measured(outcome, epochs, per_epoch))
        else:
            self.say(f"{role}: done before, test AP {entry['AP']:.1f}")
            self._record(role, entry)
        return load_detector(str(folder / "best.keras"))

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
        self.say(f"{role}: test AP {metrics['AP']:.1f}, AP50 {metrics['AP50']:.1f}, {entry['seconds']:.0f} s")
        self._record(role, entry)

    def _record(self, role: str, entry: dict[str, Any]) -> None:
        self.results["roles"][role] = entry
        write_results(self.folder / "results.json", self.results)


def measured(outcome: Outcome, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
    """What `results.json` says about how a role was trained."""
    return {
        "epochs": epochs,
        "steps": epochs * steps_per_epoch,
        "seconds": round(outcome.seconds, 1),
        "best_epoch": outcome.best_epoch,
    }


def make_strategies(text: str) -> list[Strategy]:
    """Builds strategies from their comma-separated specs."""
    return [STRATEGIES.build(spec) for spec in parse_specs(text, "strategies")]
