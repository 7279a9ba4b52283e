"""Beyond the teacher: which objects of the truth a student finds and its teacher misses.

An object is found when a detection of its class takes it by at least the given IoU
(`matching.take_objects`). Difficult objects and crowds do not count, and do not change what
else is found.

The teacher is at its operating point. The student is compared three times: at its own
operating point, with as many detections as the teacher, and with as many detections as it
can have at the teacher's precision. What exploration brings is the difference of two such
measures at equal precision: of the student with it, and of the same student without.
"""

from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import check_fraction, check_positive
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, check_labels, check_records
from mkd_tf.evaluation.finding import found_in
from mkd_tf.evaluation.matching import Ranking
from mkd_tf.evaluation.operating_point import OVERLAP
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


def beyond(
    truth: Sequence[Truth],
    student: Sequence[Detections],
    teacher: Sequence[Detections],
    class_names: Sequence[str],
    score: float,
    teacher_score: float,
    iou: float = OVERLAP,
) -> Beyond:
    """Counts the objects that student and teacher find, overall and per class.

    Args:
      truth: one record per image.
      student: what the student found in each, in the same order.
      teacher: what the teacher found in each.
      class_names: the C names, in the order of the labels.
      score: the student's operating point, least score of its detections.
      teacher_score: the teacher's.
      iou: least overlap with the object, above 0.

    Returns:
      `score`, `teacher_score`, `iou`, the counts of all objects, and `per_class`, a dict from
      name to the same counts; `equal_count` and `equal_precision`, the counts of all objects
      and what the student finds then. Plain numbers, ready for `results.json`.

    Raises:
      MkdError: if lengths differ or a label is not an index into `class_names`.
    """
    check_fraction("score", score)
    check_fraction("teacher_score", teacher_score)
    check_fraction("iou", iou)
    check_positive("iou", iou)
    for role, detections in (("student", student), ("teacher", teacher)):
        if truth or detections:
            check_records(truth, detections, f"detections of the {role}")
    do = "Pass the class names of the data set that was evaluated."
    for t in truth:
        check_labels("labels of the truth", t.named().labels, len(class_names), do)
    ours, theirs = Ranking.of(truth, student, iou), Ranking.of(truth, teacher, iou)
    taught = found_in(theirs, threshold=teacher_score)
    own = found_in(ours, threshold=score)
    by_count = found_in(ours, count=taught.detections)
    # A teacher that shows nothing has no precision.
    by_precision = by_count
    if taught.precision is not None:
        by_precision = found_in(ours, precision=taught.precision)
    classes = [(name, ours.object_labels == label) for label, name in enumerate(class_names)]
    return {
        "score": float(score),
        "teacher_score": float(teacher_score),
        "iou": float(iou),
        **_shares(own.objects, taught.objects),
        "per_class": {name: _shares(own.objects[mine], taught.objects[mine]) for name, mine in classes},
        "equal_count": {**by_count.record(), **_shares(by_count.objects, taught.objects)},
        "equal_precision": {**by_precision.record(), **_shares(by_precision.objects, taught.objects)},
    }
