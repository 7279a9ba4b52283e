"""Runs the networks of a finished run on the labelled images and collects what they doubt."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.data.base import AnnotatedSplit, Dataset, Element, annotation_of, image_of
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.operating_point import operating_point
from mkd_tf.evaluation.progress import OnProgress
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.inspection.review import as_record, doubts_of, median_ious, merged
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.schemas.inspection import Doubt, ReviewFile

ROLES = ("teacher", "student")
MOST_DOUBTS = 2000
"""Doubts that are kept, those with the most suspicion."""


class Labelled(AnnotatedSplit):
    """The labelled images of a split, or some of them at equal distances."""

    def __init__(self, split: Sequence[Element], most: int):
        known = [i for i in range(len(split)) if annotation_of(split, i)["is_labelled"]]
        places = np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int)
        self._split, self.indices = split, [known[place] for place in np.unique(places).tolist()]

    def __len__(self) -> int:
        return len(self.indices)

    def annotation(self, index: int) -> Element:
        return annotation_of(self._split, self.indices[index])

    def image(self, index: int) -> np.ndarray:
        return image_of(self._split, self.indices[index])


def review(
    dataset: Dataset,
    spec: str,
    workdir: str | Path,
    fit: str,
    most_images: int,
    progress: Callable[[str], OnProgress],
) -> ReviewFile:
    """Returns the labels that the teacher and the student of a run doubt, the most first.

    Args:
      dataset: the data of the run.
      spec: what it was opened as.
      workdir: of the run.
      fit: how images are brought to the input.
      most_images: of each split.
      progress: returns what shows how much of a named part is done.

    Raises:
      MkdError: if no network of the run is trained, or it has other classes.
    """
    paths = {role: Path(workdir, role, "best.keras") for role in ROLES}
    paths = {role: path for role, path in paths.items() if path.is_file()}
    if not paths:
        fail(
            f"workdir {workdir}", expected="a trained teacher or student", got="none", do="Train there first."
        )
    networks = {role: load_detector(path) for role, path in paths.items()}
    for role, network in networks.items():
        if tuple(network.class_names) != tuple(dataset.class_names):
            expected, got = ", ".join(dataset.class_names), ", ".join(network.class_names)
            fail(f"{role} of {workdir}", expected=expected, got=got, do="Restore the data set of the run.")
    found: list[Doubt] = []
    images = labels = 0
    points = {role: network.operating_point for role, network in networks.items()}
    # Validation first: what an earlier version trained has no operating point, and gets one there.
    splits = sorted((s for s in dataset.split_names if s != "unlabelled"), key=lambda s: s != "validation")
    for split in splits:
        part = Labelled(dataset.split(split), most_images)
        if not len(part):
            continue
        seen: dict[str, list[Detections]] = {}
        truth: list[Truth] = []
        for role, network in networks.items():
            ready = EvaluationSet(part, network.image_size, fit)
            truth = ready.truth
            seen[role] = ready.detections(KerasRunner(network), progress(f"{role}, {split}"))
        for role, detections in seen.items():
            points[role] = points[role] or operating_point(truth, detections, dataset.class_names)
        scores = {role: point["value"] if point else DEFAULT_SCORE for role, point in points.items()}
        found += _of_split(split, truth, seen, scores, dataset.class_names)
        images += len(truth)
        labels += sum(int(np.sum(~t.is_crowd)) for t in truth)
    found.sort(key=lambda doubt: -doubt["suspicion"])
    counts: dict[str, int] = {}
    for doubt in found:
        counts[doubt["kind"]] = counts.get(doubt["kind"], 0) + 1
    return {
        "dataset": spec,
        "networks": {role: str(path) for role, path in paths.items()},
        "images": images,
        "labels": labels,
        "counts": counts,
        "doubts": found[:MOST_DOUBTS],
    }


def _of_split(
    split: str,
    truth: Sequence[Truth],
    seen: dict[str, list[Detections]],
    points: dict[str, float],
    class_names: Sequence[str],
) -> list[Doubt]:
    usual = {r: median_ious(truth, found, points[r], len(class_names)) for r, found in seen.items()}
    made = []
    for place, objects in enumerate(truth):
        own = {r: doubts_of(objects, found[place], points[r], *usual[r]) for r, found in seen.items()}
        made += [as_record(doubt, split, objects.image_id, class_names) for doubt in merged(own)]
    return made
