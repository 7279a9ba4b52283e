"""One list of detections out of several of the same image: weighted boxes fusion.

Detections of one class that overlap by more than 0.55 become one, with

    box = sum_i s_i b_i / sum_i s_i        score = sum_i s_i / N

over at most one detection of each of the N members (or views) that know the class: what one
of two members does not see has half its score. Reference: Solovyev, Wang and Gabruseva,
"Weighted boxes fusion", Image and Vision Computing 2021, Sec. 3. Departure: a member gives a
fused box one detection at most, so that the objects of a crowd stay apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.options import LOWEST_SCORE

FUSED_IOU = 0.55


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return common / np.maximum(np.prod(box[2:] - box[:2]) + areas - common, 1e-12)


class _Cluster:
    """Detections of one object: their members, weighted sum of boxes and sum of scores."""

    def __init__(self, member: int, box: np.ndarray, score: float):
        self.members = {member}
        self.sum, self.score = box * score, score

    def add(self, member: int, box: np.ndarray, score: float) -> None:
        self.members.add(member)
        self.sum, self.score = self.sum + box * score, self.score + score

    @property
    def box(self) -> np.ndarray:
        return self.sum / self.score


def fuse(found: Sequence[Detections], voters: Mapping[int, int], max_detections: int = 300) -> Detections:
    """Returns the fused detections of one image.

    Args:
      found: of each member, with labels of the same classes and boxes as fractions of the image.
      voters: how many members know each label.
      max_detections: kept of all classes.
    """
    members = np.concatenate([np.full(len(d), m) for m, d in enumerate(found)])
    boxes = np.concatenate([d.boxes for d in found]).astype("float64")
    scores = np.concatenate([d.scores for d in found]).astype("float64")
    labels = np.concatenate([d.labels for d in found])
    clusters: dict[int, list[_Cluster]] = {}
    for i in np.argsort(-scores, kind="stable").tolist():
        if scores[i] <= 0:
            continue
        label = int(labels[i])
        free = [c for c in clusters.setdefault(label, []) if members[i] not in c.members]
        overlaps = _overlaps(boxes[i], np.array([c.box for c in free])) if free else np.zeros(0)
        if len(overlaps) and overlaps.max() > FUSED_IOU:
            free[int(overlaps.argmax())].add(int(members[i]), boxes[i], float(scores[i]))
        else:
            clusters[label].append(_Cluster(int(members[i]), boxes[i], float(scores[i])))
    rows = [(c.score / voters[label], label, c.box) for label, listed in clusters.items() for c in listed]
    rows = [row for row in rows if row[0] >= LOWEST_SCORE]
    rows.sort(key=lambda row: -row[0])
    rows = rows[:max_detections]
    return Detections(
        np.array([row[2] for row in rows], "float32").reshape(-1, 4),
        np.array([row[0] for row in rows], "float32"),
        np.array([row[1] for row in rows], "int32"),
    )
