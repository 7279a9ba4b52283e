"""What a run takes from its teacher beside its network: labels, soft targets, and the gate before them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mkd_tf.checks import MkdError
from mkd_tf.config import Config
from mkd_tf.data.pipeline.image_store import Boxes, Row
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors import Detector
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.progress import bar, ignore_progress
from mkd_tf.evaluation.results import percent
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.schemas.training import ResultsFile, TeacherGate
from mkd_tf.training import gate
from mkd_tf.training.answered_run import AnsweredRun
from mkd_tf.training.images import Images
from mkd_tf.training.label_quality import MOST_IMAGES, label_quality
from mkd_tf.training.measuring import Measuring
from mkd_tf.training.plan import Stage
from mkd_tf.training.teacher_boxes import detect, read_rows, row_of, usable, with_teacher_boxes, write_rows


class Teaching:
    """Hands out what a run's teacher knows.

    Args:
      config: of the run.
      class_names: of the data set.
      images: that the run trains on.
      measuring: measures its networks.
      folder: the work directory.
      console: where lines and progress are shown.
      answered: the teacher, if it only answers with detections.
      results: returns what the work directory has measured so far.
      record: called with further keys of `results.json`.
    """

    def __init__(
        self,
        config: Config,
        class_names: tuple[str, ...],
        images: Images,
        measuring: Measuring,
        folder: Path,
        console: Console,
        answered: AnsweredRun | None,
        *,
        results: Callable[[], ResultsFile],
        record: Callable[..., None],
    ):
        self._config, self._class_names, self._images = config, class_names, images
        self._measuring, self._folder, self._console = measuring, folder, console
        self._answered, self._results, self._record = answered, results, record
        self._places: TeacherPlaces | None = None

    def begin(self) -> None:
        """Asks a teacher that only answers with detections, and measures it.

        Raises:
          MkdError: if it cannot be used, or the gate fails.
        """
        answered = self._answered
        if answered is not None:
            answered.ask(self._images)
            self._places, self._measuring.answers = answered.places(), answered.test_answers()
            self._pass(lambda: answered.gate(self._images), is_short=False)
            answered.claim()

    def gate(self, teacher: Detector, was_given: bool) -> None:
        """Measures a teacher's network on validation; of one that was not trained here all is printed."""

        def measured() -> TeacherGate:
            images = self._measuring.images("validation", teacher.image_size)
            found = images.detections(KerasRunner(teacher))
            of = self._class_names, teacher.name, "validation"
            return gate.measure(images.truth, found, *of, is_foreign=False)

        self._pass(measured, is_short=not was_given)

    def _pass(self, measured: Callable[[], TeacherGate], is_short: bool) -> None:
        mode = self._config.roles.teacher_gate
        if mode == "off":
            return
        kept = self._results().get("teacher_gate")
        found = measured() if kept is None else kept
        if kept is None:
            for line in gate.said(found, is_short):
                say(self._console, line)
        gate.check(found, mode)
        if kept is None:  # Not one that failed: a teacher that has been mended since is measured again.
            self._record(teacher_gate=found)

    def places(self, stage: Stage) -> TeacherPlaces | None:
        """Returns the soft targets of a stage that learns from a teacher without a network."""
        return self._places if "teacher" in stage.sources else None

    def boxes(self, stage: Stage, networks: Mapping[str, Detector], anchors: Anchors) -> Boxes:
        """Returns the boxes to train on: the truth, and with a teacher its boxes on unlabelled images."""
        images = self._images
        if not stage.sources or not len(images.unlabelled):
            return images.store.truth
        rows = self._rows(networks)
        if "teacher_labels" not in self._results():
            self._judge_labels(networks, anchors)
        most_iou = self._config.data.teacher_boxes_iou
        return with_teacher_boxes(images.store, images.unlabelled, rows, self._least(), most_iou)

    def _rows(self, networks: Mapping[str, Detector]) -> dict[int, Row]:
        images = self._images
        if self._answered is not None:
            return self._answered.rows(images.unlabelled)
        path = self._folder / "teacher" / "boxes.npz"
        if path.exists():
            try:
                return read_rows(path)
            except MkdError as error:
                say(self._console, f"{error} It is made again.")
        runner = KerasRunner(networks["teacher"])
        with Progress(console=self._console, transient=True) as progress:
            shown = bar(progress, "teacher labels", len(images.unlabelled))
            found = detect(images.store, images.unlabelled, runner, shown)
        write_rows(path, images.unlabelled, found)
        return read_rows(path)

    def _least(self) -> float | np.ndarray:
        """Returns the lowest score of a label, one for each class if they are measured."""
        least = self._config.data.teacher_boxes
        found = self._results().get("teacher_gate")
        if self._config.roles.teacher_thresholds == "common" or found is None:
            return least
        return gate.thresholds(found, self._class_names, least)

    def _judge_labels(self, networks: Mapping[str, Detector], anchors: Anchors) -> None:
        """Measures how far the teacher's boxes agree with the labels of the student's labelled images."""
        store, data = self._images.store, self._config.data
        chosen = self._images.labelled[:MOST_IMAGES]
        if not len(chosen) or data.teacher_boxes >= 1:
            return
        if self._answered is not None:
            rows = self._answered.rows(chosen)
            chosen = np.array(list(rows), "int64")
        else:
            found = detect(store, chosen, KerasRunner(networks["teacher"]), ignore_progress)
            rows = {i: row_of(d) for i, d in zip(chosen.tolist(), found, strict=True)}
        if not len(chosen):
            return
        least = self._least()
        labels = [usable(rows[i], least, data.teacher_boxes_iou) for i in chosen.tolist()]
        truth = [store.row(i) for i in chosen.tolist()]
        quality = label_quality(anchors, truth, labels, len(self._class_names))
        self._record(teacher_labels=quality)
        right = percent(quality["class_right"], "{:.0%}")
        whose = "labelled images" if self._answered is not None else "of its own training images"
        say(
            self._console,
            f"the teacher's labels: {quality['boxes_per_image']:.1f} boxes an image; where objects are, "
            f"{right} of their weight has the right class ({len(chosen)} {whose})",
        )
