"""The gate: whether a teacher is good enough, measured before anything learns from it.

Its detections are compared with labels of images that it was not trained on, as far as that
is known: the validation split, and for a teacher from elsewhere also the student's labelled
images. A detection is right if it overlaps an object of its class by an IoU of 0.5
(`evaluation.matching`). With F1 = 2 TP / (detections + objects) at the best threshold,

    good    F1 >= GOOD       weak    F1 >= WEAK       unfit    below

The limits are conventions: at F1 0.5 as many detections and objects are right as are not.
Two faults of the setting show here as well: boxes that lie on objects under other names (a
wrong class map), and boxes that lie on no object at all (a wrong box format).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics
from mkd_tf.evaluation.finding import found_in
from mkd_tf.evaluation.matching import Ranking, take_objects
from mkd_tf.evaluation.operating_point import OVERLAP, best_f1, default_point, operating_point
from mkd_tf.evaluation.results import percent
from mkd_tf.schemas.training import GateClass, GateScore, TeacherGate

GOOD, WEAK = 0.5, 0.25
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FEW = 5
"""Objects of a class below which nothing is said of it."""
MISNAMED = 0.4
"""F1 without regard to classes from which, if it is twice that with classes, the class map is suspect."""
_SHARE = 0.6  # of a class's detections that lie on objects of another class
_LISTED = 12


def measure(
    truth: Sequence[Truth],
    detections: Sequence[Detections | None],
    class_names: Sequence[str],
    teacher: str,
    images: str,
    is_foreign: bool = True,
) -> TeacherGate:
    """Measures a teacher.

    Args:
      truth: one record per labelled image.
      detections: what it finds in each, in the same order; None for an image that it does not know.
      class_names: the C names, in the order of the labels.
      teacher: its name.
      images: which images these are, as `validation`.
      is_foreign: whether class map or box format may be at fault; else it is a network of mkd_tf.

    Returns:
      The record for `results.json`, with the verdict.
    """
    known = [(t, d) for t, d in zip(truth, detections, strict=True) if d is not None]
    seen, found = [t for t, _ in known], [d for _, d in known]
    gate: TeacherGate = {
        "teacher": teacher,
        "split": images,
        "images": len(known),
        "unknown_images": len(truth) - len(known),
        "objects": int(sum(np.sum(~(t.is_difficult | t.is_crowd)) for t in seen)),
        "AP": None,
        "AP50": None,
        "f1": None,
        "f1_without_classes": None,
        "threshold": None,
        "scores": [],
        "per_class": {},
        "unknown_classes": [],
        "verdict": "unmeasured",
        "reasons": ["it answers for no image with labelled objects"],
    }
    if not gate["objects"]:
        return gate
    ranking, metrics = Ranking.of(seen, found, OVERLAP), coco_metrics(seen, found, class_names)
    point = operating_point(seen, found, class_names) or default_point("no detection is right")
    thresholds = {name: point["per_class"].get(name) for name in class_names}
    anonymous = best_f1([_unnamed(t) for t in seen], [_nameless(d) for d in found])
    gate["AP"], gate["AP50"] = metrics["AP"], metrics["AP50"]
    gate["f1"], gate["f1_without_classes"] = point["f1"], anonymous[1] if anonymous else 0.0
    gate["threshold"] = point["value"] if point["f1"] else None
    gate["scores"] = [_at(ranking, score) for score in SCORES]
    gate["per_class"] = {
        name: _of_class(ranking, label, metrics["per_class"][name], thresholds[name])
        for label, name in enumerate(class_names)
    }
    gate["unknown_classes"] = [
        name for name, c in gate["per_class"].items() if c["objects"] >= FEW and c["threshold"] is None
    ]
    misnamed = _misnamed(seen, found, class_names, anonymous[0]) if anonymous else []
    return judge(gate, misnamed, is_foreign)


def judge(gate: TeacherGate, misnamed: Sequence[str], is_foreign: bool = True) -> TeacherGate:
    """Adds the verdict and its reasons to what was measured; `misnamed` are the classes that look swapped."""
    f1, without = gate["f1"] or 0.0, gate["f1_without_classes"] or 0.0
    reasons: list[str] = []
    if f1 < GOOD and without >= max(MISNAMED, 2 * f1):
        names = f" ({'; '.join(misnamed)})" if misnamed else ""
        reasons.append(f"its boxes lie on objects, but under other names{names}")
        reasons[-1] += ": check --class_map" if is_foreign else ""
    elif without < WEAK / 2 and gate["images"]:
        reasons.append("hardly a box lies on an object")
        if is_foreign:
            reasons[-1] += ": check that it saw these images, and the preset or format of its boxes"
    if gate["unknown_classes"]:
        reasons.append(f"it does not know {_listed(gate['unknown_classes'])}")
    if gate["objects"] < FEW * len(gate["per_class"]):
        reasons.append(f"measured on {gate['objects']} objects only")
    gate["verdict"] = "good" if f1 >= GOOD else "weak" if f1 >= WEAK else "unfit"
    gate["reasons"] = reasons
    return gate


def said(gate: TeacherGate, is_short: bool = False) -> list[str]:
    """Returns the lines about a gate; one of them if it `is_short`."""
    verdict = {
        "good": "good enough to teach",
        "weak": "weak: its terms and labels may help little, compare with --baseline",
        "unfit": "not good enough to teach",
        "unmeasured": "could not be measured",
    }[gate["verdict"]]
    reasons = f" ({'; '.join(gate['reasons'])})" if gate["reasons"] else ""
    if gate["verdict"] == "unmeasured":
        return [f"teacher gate: {verdict}{reasons}"]
    lines = [
        f"teacher gate: AP {percent(gate['AP'])}, best F1 {percent(gate['f1'], '{:.2f}')} on "
        f"{gate['images']} images ({gate['split']}), {gate['objects']} objects: {verdict}{reasons}"
    ]
    if is_short:
        return lines
    each = [
        f"{s['score']:g}: {percent(s['precision'], '{:.0%}')} / {percent(s['recall'], '{:.0%}')}"
        for s in gate["scores"]
    ]
    lines.append(f"  precision / recall from a score on: {', '.join(each)}")
    worst = sorted(gate["per_class"].items(), key=lambda item: item[1]["AP"] or 0.0)
    for name, c in worst[:_LISTED]:
        lines.append(
            f"  {name}: AP {percent(c['AP'])} on {c['objects']} objects, best F1 from score "
            f"{percent(c['threshold'], '{:.2f}')} on"
        )
    if len(worst) > _LISTED:
        lines.append(f"  and {len(worst) - _LISTED} classes with a higher AP, see results.json")
    return lines


def check(gate: TeacherGate, mode: str) -> None:
    """Raises `MkdError` if the mode is `fail` and the teacher is unfit or could not be measured."""
    if mode == "fail" and gate["verdict"] in ("unfit", "unmeasured"):
        fail(
            f"teacher gate of {gate['teacher']}",
            expected=f"a best F1 of {WEAK:g} or more on labelled images",
            got=f"{percent(gate['f1'], '{:.2f}')} on {gate['images']} images",
            do=". ".join([*gate["reasons"], "--teacher_gate=warn trains all the same"]) + ".",
        )


def thresholds(gate: TeacherGate, class_names: Sequence[str], least: float) -> np.ndarray:
    """Returns the lowest score of a label of each class, `[C]`: that of its best F1, `least` without one."""
    known = gate["per_class"]
    chosen = [known[name]["threshold"] if name in known else None for name in class_names]
    return np.array([least if c is None else max(c, least) for c in chosen], "float32")


def _of_class(ranking: Ranking, label: int, ap: float | None, threshold: float | None) -> GateClass:
    mine = ranking.labels == label
    own = Ranking(ranking.scores[mine], ranking.labels[mine], ranking.owners[mine], ranking.object_labels)
    objects = int(np.sum(ranking.object_labels == label))
    found = found_in(own, threshold=1.1 if threshold is None else threshold)
    recall = float(np.sum(found.objects)) / objects if objects else None
    return {
        "objects": objects,
        "AP": ap,
        "threshold": threshold,
        "precision": found.precision,
        "recall": recall,
    }


def _at(ranking: Ranking, score: float) -> GateScore:
    found = found_in(ranking, threshold=score)
    recall = float(np.sum(found.objects)) / max(1, len(ranking.object_labels))
    return {
        "score": score,
        "detections": found.detections,
        "precision": found.precision,
        "recall": recall,
    }


def _unnamed(truth: Truth) -> Truth:
    return dataclasses.replace(truth, labels=np.zeros(len(truth.labels), "int32"))


def _nameless(found: Detections) -> Detections:
    return Detections(found.boxes, found.scores, np.zeros(len(found), "int32"))


def _misnamed(
    truth: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str], threshold: float
) -> list[str]:
    """Returns classes whose detections lie on objects of another class, as `cat on 92 % dog`."""
    counts = np.zeros((len(class_names), len(class_names)), int)
    for t, d in zip(truth, detections, strict=True):
        shown = d.above(threshold)
        owners = take_objects(_unnamed(t), _nameless(shown), OVERLAP)
        for label, owner in zip(shown.labels.tolist(), owners.tolist(), strict=True):
            if owner >= 0 and t.labels[owner] >= 0:  # else it lies in an area of unknown content
                counts[label, t.labels[owner]] += 1
    found = []
    for label, row in enumerate(counts):
        most = int(row.argmax())
        if most != label and row.sum() >= FEW and row[most] >= _SHARE * row.sum():
            found.append(
                f"what it calls {class_names[label]} is {row[most] / row.sum():.0%} {class_names[most]}"
            )
    return found


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest
