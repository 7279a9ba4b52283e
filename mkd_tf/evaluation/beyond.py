"""Beyond the teacher: which objects of the truth a student finds and its teacher misses.

An object is found when a detection of its class, with at least the given score, takes it by
at least the given IoU (`matching.take_objects`). Difficult objects and crowds do not count,
and do not change what else is found.

What exploration brings is the difference of two such measures against one teacher: of
the student with it, and of the same student without. A student finds more at a fixed
score by being more confident too, so read it beside the AP.
"""

from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import check_fraction, check_positive
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, check_labels, check_records
from mkd_tf.evaluation.matching import take_objects
from mkd_tf.schemas.training import Beyond, Shares


def _shares(student: np.ndarray, teacher: np.ndarray) -> Shares:
    """Counts objects of which `[M]` bool say whether each network finds them."""
    return {
        "objects": len(student),
        "both": int(np.sum(student & teacher)),
        "student_only": int(np.sum(student & ~teacher)),
        "teacher_only": int(np.sum(teacher & ~student)),
        "neither": int(np.sum(~student & ~teacher)),
    }


def found_objects(truth: Truth, detections: Detections, score: float, iou: float) -> np.ndarray:
    """Returns whether each object of one image is found: `[M]` bool; difficult ones and crowds never.

    Args:
      truth: the objects of the image.
      detections: what was found in it, as fractions of the image.
      score: least score of a detection.
      iou: least overlap.
    """
    found = np.zeros(len(truth.labels), bool)
    taken = take_objects(truth, detections.above(score), iou)
    found[taken[taken >= 0]] = True
    return found & ~truth.is_difficult & ~truth.is_crowd


def beyond(
    truth: Sequence[Truth],
    student: Sequence[Detections],
    teacher: Sequence[Detections],
    class_names: Sequence[str],
    score: float = 0.3,
    iou: float = 0.5,
) -> Beyond:
    """Counts the objects that student and teacher find, overall and per class.

    Args:
      truth: one record per image.
      student: what the student found in each, in the same order.
      teacher: what the teacher found in each.
      class_names: the C names, in the order of the labels.
      score: least score of a detection, of either network.
      iou: least overlap with the object, above 0.

    Returns:
      `score`, `iou`, the counts of all objects, and `per_class`, a dict from name to the same
      counts. Plain numbers, ready for `results.json`.

    Raises:
      MkdError: if lengths differ or a label is not an index into `class_names`.
    """
    check_fraction("score", score)
    check_fraction("iou", iou)
    check_positive("iou", iou)
    for role, detections in (("student", student), ("teacher", teacher)):
        if truth or detections:
            check_records(truth, detections, f"detections of the {role}")
    rows = [np.zeros((4, 0), int)]
    for t, *found in zip(truth, student, teacher, strict=True):
        by_network = [found_objects(t, d, score, iou) for d in found]
        rows.append(np.stack([t.labels, ~(t.is_difficult | t.is_crowd), *by_network]))
    labels, *flags = np.concatenate(rows, axis=1)
    do = "Pass the class names of the data set that was evaluated."
    check_labels("labels of the truth", labels, len(class_names), do)
    counts, by_student, by_teacher = np.array(flags, bool)
    per_class = {
        name: _shares(by_student[counts & (labels == i)], by_teacher[counts & (labels == i)])
        for i, name in enumerate(class_names)
    }
    total = _shares(by_student[counts], by_teacher[counts])
    return {"score": float(score), "iou": float(iou), **total, "per_class": per_class}
