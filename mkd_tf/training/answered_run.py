"""The part of a run whose teacher only answers with detections."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data.base import Dataset, Element, annotation_of
from mkd_tf.data.pipeline.image_store import Row
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors import DETECTORS
from mkd_tf.evaluation.coco import Truth, coco_metrics
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.operating_point import operating_point
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.results import percent
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.registry import parse_spec
from mkd_tf.schemas.training import TeacherGate
from mkd_tf.teachers import TEACHERS, build_teacher, map_classes, parse_class_map
from mkd_tf.training import gate
from mkd_tf.training.answer_terms import answers_only, check_answers, said_of
from mkd_tf.training.answering import Answer, Answering, places_of
from mkd_tf.training.images import Images, training_splits
from mkd_tf.training.plan import expanded


class AnsweredRun:
    """Builds the teacher and its class map, and asks it about the images of a run.

    Args:
      config: of the run.
      dataset: its images.
      console: where lines and progress are shown.

    Attributes:
      train: an answer for every image of the store, after `ask`.
      test: what the teacher finds in the test images, None unless it knows all of them.
      threshold: its operating point on validation.

    Raises:
      MkdError: if the teacher cannot be read, or classes or options do not fit it.
    """

    def __init__(self, config: Config, dataset: Dataset, console: Console):
        self._config, self._dataset, self._console = config, dataset, console
        roles = config.roles
        check_answers(roles)
        for line in said_of(roles, expanded(roles.strategies, roles.has_guide)):
            self._say(line)
        teacher = build_teacher(roles.teacher, roles.teacher_views)
        class_map = map_classes(teacher.class_names, dataset.class_names, parse_class_map(roles.class_map))
        pairs = [
            f"{name} = {dataset.class_names[label]}"
            for name, label in zip(teacher.class_names, class_map.index.tolist(), strict=True)
            if label >= 0
        ]
        for line in (*teacher.notes(), f"classes: {', '.join(pairs)}", *class_map.notes()):
            self._say(f"teacher: {line}")
        self._answering = Answering(teacher, class_map, Path(config.run.workdir, "teacher"))
        self.train: list[Answer] = []
        self.test: list[Detections] | None = None
        self.threshold = DEFAULT_SCORE

    def _say(self, text: str) -> None:
        say(self._console, text)

    def ask(self, images: Images) -> None:
        """Asks about all images and prints of how many the teacher knows something.

        Raises:
          MkdError: if it knows no training image, or has changed since the work directory was begun.
        """
        self._answering.compare()
        self.train = self._about("training", training_splits(self._dataset))
        self._validation = self._about("validation", [self._dataset.split("validation")])
        tested = [answer.found for answer in self._about("test", [self._dataset.split("test")])]
        self.test = [found for found in tested if found is not None]
        if len(self.test) < len(tested):
            self.test = None
        known = np.array([answer.found is not None for answer in self.train])
        if not known.any():
            fail(
                f"teacher {self._answering.teacher.name}",
                expected="answers for images of this data set",
                got=f"none for any of {len(known)} training images",
                do="Give predictions of these images; images go by their ids or file names.",
            )
        hidden = int(known[images.unlabelled].sum())
        if hidden < len(images.unlabelled):
            self._say(
                f"teacher: without an answer, {len(images.unlabelled) - hidden} of {len(images.unlabelled)} "
                "images without labels stay unlabelled: nothing in them counts as background"
            )
        if self.test is None:
            self._say(
                f"teacher: answers for {sum(t is not None for t in tested)} of {len(tested)} test images: "
                "its test AP and beyond_teacher are not available"
            )
        truth, found = _pairs(_truth(self._dataset.split("validation")), self._validation)
        point = operating_point(truth, found, self._dataset.class_names) if truth else None
        self.threshold = point["value"] if point else DEFAULT_SCORE

    def _about(self, what: str, splits: Sequence[Sequence[Element]]) -> list[Answer]:
        with Progress(console=self._console, transient=True) as progress:
            shown = bar(progress, f"teacher, {what} images", sum(map(len, splits)))
            answers = self._answering.about(splits, shown)
        known = [answer.found for answer in answers if answer.found is not None]
        self._say(
            f"teacher: answers for {len(known)} of {len(answers)} {what} images"
            + (f", {sum(map(len, known)) / len(known):.1f} detections in each" if known else "")
        )
        return answers

    def claim(self) -> None:
        """Ties the work directory to the teacher, once it has passed the gate: before, it may be mended."""
        self._answering.claim()

    def test_answers(self) -> tuple[list[Detections], float] | None:
        """Returns what it finds in the test images and its operating point, None unless it knows them all."""
        return None if self.test is None else (self.test, self.threshold)

    def rows(self, indices: np.ndarray) -> dict[int, Row]:
        """Returns the detections in images of the store by index, without those that it does not know."""
        rows = {i: self.train[i].row(self._config.data.fit) for i in indices.tolist()}
        return {i: row for i, row in rows.items() if row is not None}

    def places(self) -> TeacherPlaces:
        """Returns the soft targets of every image of the store."""
        data = self._config.data
        return places_of(self.train, data.fit, len(self._dataset.class_names), data.teacher_boxes)

    def gate(self, images: Images) -> TeacherGate:
        """Measures the teacher on validation and on the labelled images of the student."""
        where = [(split, i) for split in training_splits(self._dataset) for i in range(len(split))]
        chosen = images.labelled.tolist()
        truth = _truth(self._dataset.split("validation"))
        truth += [Truth.of(annotation_of(*where[i])) for i in chosen]
        found = [answer.found for answer in [*self._validation, *(self.train[i] for i in chosen)]]
        name, splits = self._answering.teacher.name, "validation and labelled train"
        measured = gate.measure(truth, found, self._dataset.class_names, name, splits)
        if self.test is not None:
            tested = coco_metrics(_truth(self._dataset.split("test")), self.test, self._dataset.class_names)
            measured["test_AP"] = tested["AP"]
            self._say(f"teacher: test AP {percent(tested['AP'])}, AP50 {percent(tested['AP50'])}")
        return measured


def answered_run(config: Config, dataset: Dataset, console: Console) -> AnsweredRun | None:
    """Returns the teacher of a run that only answers with detections, None for one with a network.

    Raises:
      MkdError: as `AnsweredRun` does, or if there is a class map without such a teacher.
    """
    roles = config.roles
    if answers_only(roles.teacher):
        return AnsweredRun(config, dataset, console)
    name = parse_spec(roles.teacher, "teacher").name
    if name not in DETECTORS:
        expected = f"a network ({', '.join(DETECTORS)}) or a source of detections ({', '.join(TEACHERS)})"
        fail(
            "teacher",
            expected=expected,
            got=repr(name),
            do="Write one of them, or the path of a .keras file.",
        )
    if roles.class_map:
        expected = f"a teacher among {', '.join(TEACHERS)}, whose classes it maps"
        do = "Leave --class_map out: a network of this run has the classes of the data set."
        fail("class_map", expected=expected, got=f"--teacher={roles.teacher}", do=do)
    return None


def _truth(split: Sequence[Element]) -> list[Truth]:
    return [Truth.of(annotation_of(split, i)) for i in range(len(split))]


def _pairs(truth: Sequence[Truth], answers: Sequence[Answer]) -> tuple[list[Truth], list[Detections]]:
    """Returns what is known of both."""
    pairs = [(t, a.found) for t, a in zip(truth, answers, strict=True) if a.found is not None]
    return [t for t, _ in pairs], [d for _, d in pairs]
