"""What a report measures itself: the detections of every network on the same test images.

The network in `best.keras` is run, the one that is distilled from and exported, on images
at equal distances in the test split. Its operating point is the threshold of best F1 on
the validation split, never on the images that are shown.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mkd_tf.checks import MkdError
from mkd_tf.data.base import AnnotatedSplit, Dataset, Element, annotation_of, image_of
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.operating_point import best_f1
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.reporting.judging import Judged, judge


class Evenly(AnnotatedSplit):
    """At most `count` elements of a split, at equal distances; all of them for a count of 0."""

    def __init__(self, split: Sequence[Element], count: int):
        self._split = split
        size = min(count or len(split), len(split))
        self.places = np.linspace(0, max(len(split) - 1, 0), size).round().astype(int).tolist()

    def __len__(self) -> int:
        return len(self.places)

    def annotation(self, index: int) -> Element:
        return annotation_of(self._split, self.places[index])

    def image(self, index: int) -> np.ndarray:
        return image_of(self._split, self.places[index])


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network and what it finds in the test images.

    Attributes:
      detections: one record per image, from `LOWEST_SCORE` on.
      judged: all of them against the truth.
      threshold: the operating point, or `DEFAULT_SCORE` where there is none.
      point: where the threshold is from, in words.
    """

    name: str
    detections: tuple[Detections, ...]
    judged: Judged
    threshold: float
    point: str

    def judged_of(self, label: int | None) -> Judged:
        """Returns the detections of a class, or for None all of them, against the truth."""
        return self.judged if label is None else self.judged.of_class(label)


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """The networks of a report on the same images.

    Attributes:
      truth: one record per image.
      images: the images themselves, decoded when they are asked for.
      total: how many images the test split has.
      networks: by name.
      missing: why a network is not among them, by name.
    """

    class_names: tuple[str, ...]
    truth: tuple[Truth, ...]
    images: Evenly
    total: int
    networks: Mapping[str, Network]
    missing: Mapping[str, str]

    @property
    def counted(self) -> str:
        """How many images the figures are from, in words."""
        count = len(self.truth)
        return f"{count} test images" if count == self.total else f"{count} of {self.total} test images"

    @property
    def classes_by_size(self) -> list[int]:
        """The labels of classes with objects, those with most objects first."""
        objects = next(iter(self.networks.values())).judged.objects
        return [int(i) for i in np.argsort(-objects, kind="stable") if objects[i]]


class Sets:
    """The test and validation images of a data set at each input size and fit, read once.

    Args:
      dataset: of the run.
      images: how many images of each split to use at most, 0 for all.

    Raises:
      MkdError: if there is no test split.
    """

    def __init__(self, dataset: Dataset, images: int):
        self.class_names, split = tuple(dataset.class_names), dataset.split("test")
        self.images, self.total = Evenly(split, images), len(split)
        has_validation = "validation" in dataset.split_names and len(dataset.split("validation"))
        self._validation = Evenly(dataset.split("validation"), images) if has_validation else None
        self._known: dict[tuple[bool, int, str], EvaluationSet] = {}

    def test(self, size: int, fit: str) -> EvaluationSet:
        return self._set(True, self.images, size, fit)

    def validate(self, size: int, fit: str) -> EvaluationSet | None:
        return self._set(False, self._validation, size, fit) if self._validation else None

    def _set(self, is_test: bool, split: Evenly, size: int, fit: str) -> EvaluationSet:
        key = is_test, size, fit
        if key not in self._known:
            self._known[key] = EvaluationSet(split, size, fit)
        return self._known[key]

    @property
    def truth(self) -> tuple[Truth, ...]:
        return next(tuple(found.truth) for (is_test, *_), found in self._known.items() if is_test)


def measure(
    stages: Mapping[str, Path],
    sets: Sets,
    fit_of: Callable[[Path], str],
    progress: Callable[[str], OnProgress] = lambda text: ignore_progress,
) -> Measured:
    """Runs networks over the test split of a run's data set.

    Args:
      stages: the folder with `best.keras` by name.
      sets: the images.
      fit_of: returns how images are brought to the input of the network in a folder.
      progress: returns what is called as images of the named network are done.

    Raises:
      MkdError: if no network can be run.
    """
    networks, missing = {}, {}
    for name, folder in stages.items():
        try:
            networks[name] = _measured(name, folder, sets, fit_of(folder), progress(name))
        except MkdError as error:
            missing[name] = str(error)
    if not networks:
        raise MkdError("; ".join(missing.values()))
    return Measured(sets.class_names, sets.truth, sets.images, sets.total, networks, missing)


def _measured(name: str, folder: Path, sets: Sets, fit: str, progress: OnProgress) -> Network:
    detector = load_detector(folder / "best.keras")
    if tuple(detector.class_names) != sets.class_names:
        raise MkdError(f"{folder}: it has other classes than the data set. Train it again.")
    runner, size = KerasRunner(detector), detector.image_size
    test = sets.test(size, fit)
    found = tuple(test.detections(runner, on_progress=progress))
    judged = judge(test.truth, found, len(sets.class_names))
    return Network(name, found, judged, *_point(detector, runner, sets.validate(size, fit)))


def _point(detector: Detector, runner: KerasRunner, validation: EvaluationSet | None) -> tuple[float, str]:
    """Returns a network's threshold, stored with its weights or found here, and where it is from."""
    if detector.operating_point is not None:
        return detector.operating_point["value"], detector.operating_point["chosen"]
    if validation is None:
        return DEFAULT_SCORE, "a default: no validation split"
    best = best_f1(validation.truth, validation.detections(runner))
    if best is None:
        return DEFAULT_SCORE, "a default: no detection on validation is right"
    return best[0], f"best F1 on {len(validation)} validation images"
