"""What a run measures of its networks: operating points on validation, all else on the test split."""

from collections.abc import Sequence
from typing import Any

from mkd_tf.config import DataConfig
from mkd_tf.data.base import Dataset
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.beyond import beyond
from mkd_tf.evaluation.cost import macs, parameters
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.finding import found
from mkd_tf.evaluation.operating_point import default_point, operating_point
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.schemas.training import OperatingPoint


def set_operating_point(
    detector: Detector, validation: EvaluationSet, runner: KerasRunner | None = None
) -> OperatingPoint:
    """Gives a detector its operating point, with which it is saved; returns it.

    Args:
      detector: at its final weights.
      validation: images of the validation split at its size.
      runner: of the same weights, if there is one: a new one has to be traced.
    """
    detections = validation.detections(runner or KerasRunner(detector))
    point = operating_point(validation.truth, detections, detector.class_names)
    point = point or default_point("no detection on the validation split is right")
    detector.operating_point = point
    return point


class Measuring:
    """Measures the networks of one run; every split is decoded once for each input size."""

    def __init__(self, dataset: Dataset, config: DataConfig):
        self._dataset, self._config = dataset, config
        self._sets: dict[tuple[str, int], EvaluationSet] = {}
        self._teachers: tuple[Detector, list[Detections]] | None = None
        # Of a teacher without a network: its detections in the test images, and its operating point.
        self.answers: tuple[Sequence[Detections], float] | None = None

    def images(self, split: str, image_size: int) -> EvaluationSet:
        """Returns a split's images at an input size."""
        key = (split, image_size)
        if key not in self._sets:
            # As much again as the training images at most; what does not fit is decoded when needed.
            room = int(self._config.cache_gb * 2**30 / 2)
            images = self._dataset.split(split)
            self._sets[key] = EvaluationSet(images, image_size, self._config.fit, memory_bytes=room)
        return self._sets[key]

    def point(self, detector: Detector) -> OperatingPoint:
        """Returns a detector's operating point; measures it where its file was written without one."""
        if detector.operating_point is not None:
            return detector.operating_point
        return set_operating_point(detector, self.images("validation", detector.image_size))

    def measure(self, detector: Detector, teacher: Detector | None) -> dict[str, Any]:
        """Returns what `results.json` says of a network: metrics, cost, and what it finds.

        Args:
          detector: the network.
          teacher: its teacher, as it teaches; None for the teacher itself.
        """
        names, images = self._dataset.class_names, self.images("test", detector.image_size)
        point, detections = self.point(detector), images.detections(KerasRunner(detector))
        model = detector.plain().inference()
        entry: dict[str, Any] = {
            **images.metrics(detections, names),
            "parameters": parameters(model),
            "macs": macs(model),
            "image_size": detector.image_size,
            "operating_point": dict(point),
            "found": found(detections, images.truth, threshold=point["value"]).record(),
            "split": "test",
        }
        if teacher is not None:
            theirs, scores = self._taught(teacher), (point["value"], self.point(teacher)["value"])
            entry["beyond_teacher"] = beyond(images.truth, detections, theirs, names, *scores)
        elif self.answers is not None:
            theirs, score = self.answers
            entry["beyond_teacher"] = beyond(images.truth, detections, theirs, names, point["value"], score)
        return entry

    def ap(self, detector: Detector) -> float | None:
        """Returns the AP of a network."""
        images = self.images("test", detector.image_size)
        return images.evaluate(KerasRunner(detector), self._dataset.class_names)["AP"]

    def _taught(self, teacher: Detector) -> Sequence[Detections]:
        """Returns what the teacher finds, which is the same for all networks that it teaches."""
        if self._teachers is None or self._teachers[0] is not teacher:
            images = self.images("test", teacher.image_size)
            self._teachers = teacher, images.detections(KerasRunner(teacher))
        return self._teachers[1]
