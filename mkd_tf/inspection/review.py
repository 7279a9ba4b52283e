"""Which labels of a data set trained networks doubt: missing ones, wrong classes, loose boxes.

Each network's detections are compared with the labels of an image:

    missing        a detection from the operating point on where no label lies:
                   score * (1 - IoU of the nearest label / 0.5)
    wrong class    an overlapping detection of another class that no label of that class explains:
                   score * (1 - score of the label's own class there)
    loose box      the label's class is found there, but further off than this class usually is:
                   score * (1 - IoU / the class's median IoU)
    nothing there  nothing is found where the label is, of a class that is found reliably:
                   recall of the class * (1 - best score there / operating point)

The suspicion of a doubt is the mean over the networks, 0 for one that does not share it.
The kinds are those of Tkachenko, Thyagarajan and Mueller, "ObjectLab: Automated Diagnosis of
Mislabeled Images in Object Detection Data", 2023; its scores compare similarities of boxes, which
needs all of a network's scores to be calibrated, while these use its operating point.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.voc import overlaps
from mkd_tf.schemas.inspection import Doubt

SAME_PLACE = 0.5
NEAR = 0.3
_USUAL_IOU = 0.8
_LEAST_SUSPICION = 0.1
Kind = str


def median_ious(
    truth: Sequence[Truth], found: Sequence[Detections], threshold: float, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how well a network finds each class: the median IoU of what it finds, and the recall.

    Args:
      truth: of each image.
      found: what the network finds in it, boxes as fractions.
      threshold: its operating point.
      num_classes: number of classes.

    Returns:
      `[C]` float in 0..1 and `[C]` float in 0..1; 0.8 and 0 for a class of which nothing is found.
    """
    ious: list[list[float]] = [[] for _ in range(num_classes)]
    counts = np.zeros(num_classes, int)
    for objects, detections in zip(truth, found, strict=True):
        shown = detections.above(threshold)
        counts_here = objects.labels[~objects.is_crowd]
        counts += np.bincount(counts_here, minlength=num_classes)
        matrix = _ious(objects, shown)
        for label in np.flatnonzero(~objects.is_crowd).tolist():
            own = matrix[shown.labels == objects.labels[label], label]
            if own.size and own.max() >= SAME_PLACE:
                ious[objects.labels[label]].append(float(own.max()))
    median = np.array([np.median(each) if each else _USUAL_IOU for each in ious])
    return median, np.array([len(each) for each in ious]) / np.maximum(counts, 1)


def doubts_of(
    truth: Truth, found: Detections, threshold: float, usual_iou: np.ndarray, recall: np.ndarray
) -> list[dict[str, Any]]:
    """Returns what a network doubts in an image, as `Doubt` has it but with labels as numbers.

    Args:
      truth: the labels.
      found: what the network finds from its lowest score on, boxes as fractions.
      threshold: its operating point.
      usual_iou: `[C]`, recall: `[C]`, as `median_ious` returns them.
    """
    made = [_of_label(i, truth, found, threshold, usual_iou, recall) for i in _doubtable(truth)]
    return [one for one in made if one] + _missing(truth, found.above(threshold))


def merged(per_network: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Returns the doubts of an image that several networks share as one, with their mean suspicion."""
    kept: list[dict[str, Any]] = []
    for network, doubts in per_network.items():
        for doubt in doubts:
            known = next((k for k in kept if network not in k["networks"] and _is_same(k, doubt)), None)
            if known is None:
                kept.append({**doubt, "networks": [network]})
            else:
                known["networks"].append(network)
                known["suspicion"] += doubt["suspicion"]
    for one in kept:
        one["suspicion"] = min(one["suspicion"] / len(per_network), 1.0)
    return [one for one in kept if one["suspicion"] >= _LEAST_SUSPICION]


def as_record(doubt: Mapping[str, Any], split: str, image: str, class_names: Sequence[str]) -> Doubt:
    """Returns a doubt as `review.json` holds it."""
    record: dict[str, Any] = {**doubt, "split": split, "image": image}
    for key in ("label", "suggested_label"):
        if key in record:
            record[key] = class_names[record[key]]
    for key in ("box", "suggested_box"):
        if key in record:
            record[key] = np.round(np.asarray(record[key], "float64"), 1).tolist()
    for key in ("suspicion", "score", "iou"):
        if key in record:
            record[key] = round(float(record[key]), 4)
    return record  # type: ignore[return-value]


def _doubtable(truth: Truth) -> list[int]:
    return np.flatnonzero(~(truth.is_crowd | truth.is_difficult)).tolist()


def _ious(truth: Truth, found: Detections) -> np.ndarray:
    """Returns the IoU of each detection with each label, `[D, M]`."""
    size = [truth.height, truth.width, truth.height, truth.width]
    return overlaps(found.boxes.astype("float64") * size, truth.boxes)[0]


def _pixels(truth: Truth, found: Detections, index: int) -> np.ndarray:
    return found.boxes[index].astype("float64") * [truth.height, truth.width, truth.height, truth.width]


def _of_label(
    index: int,
    truth: Truth,
    found: Detections,
    threshold: float,
    usual_iou: np.ndarray,
    recall: np.ndarray,
) -> dict[str, Any] | None:
    """Returns the doubt of one label, or None."""
    label, matrix = int(truth.labels[index]), _ious(truth, found)
    own, iou = found.labels == label, matrix[:, index]
    named = {"object": index, "label": label, "box": truth.boxes[index]}
    # A detection of another label of its class says nothing of this one.
    others = (truth.labels[None] == found.labels[:, None]) & ~truth.is_crowd[None]
    others[:, index] = False
    is_explained = ((matrix >= SAME_PLACE) & others).any(axis=1)
    own_score = _best(found.scores, own & (iou >= SAME_PLACE))
    other = ~own & (iou >= SAME_PLACE) & ~is_explained
    other_score = _best(found.scores, other)
    if other_score >= threshold and other_score > own_score:
        best = _argbest(found.scores, other)
        return {
            "kind": "wrong class",
            **named,
            "suspicion": other_score * (1 - own_score),
            "suggested_label": int(found.labels[best]),
            "suggested_box": _pixels(truth, found, best),
            "score": other_score,
        }
    near = own & (iou >= NEAR) & (found.scores >= threshold) & ~is_explained
    if near.any():
        best = int(np.flatnonzero(near)[iou[near].argmax()])
        suspicion = float(found.scores[best]) * (1 - float(iou[best]) / float(usual_iou[label]))
        return _kept(
            {
                "kind": "loose box",
                **named,
                "suspicion": suspicion,
                "suggested_label": label,
                "suggested_box": _pixels(truth, found, best),
                "score": float(found.scores[best]),
                "iou": float(iou[best]),
            }
        )
    there = _best(found.scores, iou >= NEAR)
    suspicion = float(recall[label]) * (1 - there / max(threshold, 1e-6))
    return _kept({"kind": "nothing there", **named, "suspicion": suspicion, "score": there})


def _missing(truth: Truth, shown: Detections) -> list[dict[str, Any]]:
    """Returns the detections where no label lies, the best of each place."""
    size = [truth.height, truth.width, truth.height, truth.width]
    ious, shares = overlaps(shown.boxes.astype("float64") * size, truth.boxes)
    found: list[dict[str, Any]] = []
    places: list[np.ndarray] = []
    for i in np.argsort(-shown.scores, kind="stable").tolist():
        nearest = float(np.max(np.where(truth.is_crowd, 0.0, ious[i]), initial=0.0))
        in_crowd = bool(np.any(truth.is_crowd & (shares[i] >= SAME_PLACE)))
        box = _pixels(truth, shown, i)
        is_double = any(overlaps(box[None], other[None])[0][0, 0] >= SAME_PLACE for other in places)
        if nearest >= NEAR or in_crowd or is_double:
            continue
        places.append(box)
        found.append(
            {
                "kind": "missing",
                "suspicion": float(shown.scores[i]) * (1 - nearest / SAME_PLACE),
                "suggested_label": int(shown.labels[i]),
                "suggested_box": box,
                "score": float(shown.scores[i]),
            }
        )
    return found


def _is_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    if first["kind"] != second["kind"] or first.get("object") != second.get("object"):
        return False
    if first.get("suggested_label") != second.get("suggested_label"):
        return False
    if "object" in first:
        return True
    boxes = (np.asarray(one["suggested_box"])[None] for one in (first, second))
    return bool(overlaps(*boxes)[0][0, 0] >= SAME_PLACE)


def _kept(doubt: dict[str, Any]) -> dict[str, Any] | None:
    return doubt if doubt["suspicion"] > 0 else None


def _best(scores: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.max(scores[chosen], initial=0.0))


def _argbest(scores: np.ndarray, chosen: np.ndarray) -> int:
    return int(np.flatnonzero(chosen)[scores[chosen].argmax()])
