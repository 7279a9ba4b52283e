"""Beyond the teacher: which objects of the truth a student finds and its teacher misses.

An object is found when a detection of its class, with at least the score asked for,
overlaps it by at least the IoU asked for. As in the COCO protocol detections are taken
from the best score down, each takes the free object that it overlaps most, and an
object is taken once. Difficult objects and crowds do not count. Nor do they change what
else is found: the protocol gives them only the detections that no other object takes.

What exploration brings is the difference of two such measures against one teacher: of
the student with it, and of the same student without. A student finds more at a fixed
score by being more confident too, so read it beside the AP.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mkd_tf.checks import check_fraction, check_positive, fail
from mkd_tf.detection.boxes import pairwise_iou
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth


@dataclasses.dataclass(frozen=True)
class Shares:
    """Counts of objects by who finds them.

    Attributes:
      both: found by student and teacher.
      student_only: found by the student, missed by the teacher.
      teacher_only: found by the teacher, missed by the student.
      neither: missed by both.
    """

    both: int
    student_only: int
    teacher_only: int
    neither: int

    @classmethod
    def of(cls, student: np.ndarray, teacher: np.ndarray) -> "Shares":
        """Counts objects of which `[M]` bool say whether each network finds them."""
        return cls(
            both=int(np.sum(student & teacher)),
            student_only=int(np.sum(student & ~teacher)),
            teacher_only=int(np.sum(teacher & ~student)),
            neither=int(np.sum(~student & ~teacher)),
        )

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name, and their sum as `objects`."""
        return {"objects": sum(dataclasses.astuple(self)), **dataclasses.asdict(self)}


def found_objects(truth: Truth, detections: Detections, score: float, iou: float) -> np.ndarray:
    """Whether each object of one image is found: `[M]` bool; difficult ones and crowds never.

    Args:
      truth: what is in the image.
      detections: what was found in it, as fractions of the image.
      score: least score of a detection.
      iou: least overlap.
    """
    found = np.zeros(len(truth.labels), bool)
    kept = detections.above(score)
    if not len(found) or not len(kept):
        return found
    boxes = kept.boxes.astype("float64") * [truth.height, truth.width, truth.height, truth.width]
    overlaps = np.asarray(pairwise_iou(boxes, truth.boxes.astype("float64")))
    free = ~(truth.is_difficult | truth.is_crowd)
    for row in np.argsort(-kept.scores, kind="stable"):
        open_to_it = free & (truth.labels == kept.labels[row]) & (overlaps[row] >= iou)
        if open_to_it.any():
            taken = np.argmax(np.where(open_to_it, overlaps[row], -1.0))
            found[taken], free[taken] = True, False
    return found


def beyond(
    truth: Sequence[Truth],
    student: Sequence[Detections],
    teacher: Sequence[Detections],
    class_names: Sequence[str],
    score: float = 0.3,
    iou: float = 0.5,
) -> dict[str, Any]:
    """Counts the objects that student and teacher find, overall and per class.

    Args:
      truth: one record per image.
      student: what the student found in each, in the same order.
      teacher: what the teacher found in each.
      class_names: the C names, in the order of the labels.
      score: least score of a detection, of either network.
      iou: least overlap with the object, above 0.

    Returns:
      `score`, `iou`, the counts of `Shares` with their sum `objects`, and `per_class`,
      a dict from name to the same counts. Plain numbers, ready for `results.json`.

    Raises:
      MkdError: if lengths differ or a label is not an index into `class_names`.
    """
    check_fraction("score", score)
    check_fraction("iou", iou)
    check_positive("iou", iou)
    for role, detections in (("student", student), ("teacher", teacher)):
        if len(detections) != len(truth):
            fail(
                f"detections of the {role}",
                expected=f"one record for each of the {len(truth)} images",
                got=str(len(detections)),
                do="Pass all lists in the same order.",
            )
    labels = np.concatenate([np.zeros(0, int), *(t.labels for t in truth)])
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        fail(
            "labels of the truth",
            expected=f"0 to {len(class_names) - 1}, an index into the {len(class_names)} class names",
            got=f"{labels.min()} to {labels.max()}",
            do="Pass the class names of the data set that was evaluated.",
        )
    counts = np.concatenate([np.zeros(0, bool), *(~(t.is_difficult | t.is_crowd) for t in truth)])
    by_student, by_teacher = (
        np.concatenate(
            [
                np.zeros(0, bool),
                *(found_objects(t, d, score, iou) for t, d in zip(truth, detections, strict=True)),
            ]
        )
        for detections in (student, teacher)
    )
    per_class = {
        name: Shares.of(by_student[counts & (labels == i)], by_teacher[counts & (labels == i)]).as_dict()
        for i, name in enumerate(class_names)
    }
    total = Shares.of(by_student[counts], by_teacher[counts]).as_dict()
    return {"score": float(score), "iou": float(iou), **total, "per_class": per_class}
