"""What a finished run says about itself: plain sentences, each with the figure behind it.

One rule is one function. The margins are what single runs differ by for no reason, or
rules of thumb that the sentence names; none of them decides anything in the program.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mkd_tf.config import Config
from mkd_tf.schemas.inspection import InspectionFile
from mkd_tf.schemas.training import Finding, ResultsFile

RISING, FALLING = 1.0, 1.5
"""Points of validation AP that count, in the last quarter and since the best epoch."""
MARGIN = 1.0
"""Points of test AP between two networks that count."""
FEW_OBJECTS = 20
"""Training objects of a class below which it is called rare."""
FEW_TESTED = 200
"""Test objects below which AP is called uncertain."""
SMALL_PX, SMALL_SHARE = 12.0, 0.1
"""Objects below one and a half of the finest stride, and the share of them that counts."""
RIGHT = 0.8
"""Share of the weight of the teacher's labels that should have the right class."""
_MOST = 8


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that is over: its results, its data, its options and validation AP by role and epoch."""

    results: ResultsFile
    data: InspectionFile | None
    config: Config
    validations: Mapping[str, Mapping[int, float]]

    def ap(self, role: str) -> float | None:
        """Returns the test AP of a role, None where it was not measured."""
        entry: Any = self.results["roles"].get(role, {})
        return entry.get("AP")


Rule = Callable[[Finished], list[Finding]]


def finding(kind: str, text: str, **figures: float) -> Finding:
    """Returns a sentence of the diagnosis with its figures by name."""
    return {"kind": kind, "text": text, "figures": {k: round(float(v), 4) for k, v in figures.items()}}


def under_trained(run: Finished) -> list[Finding]:
    """Validation AP still rises in the last quarter of a role's epochs."""
    found = []
    for role, curve in run.validations.items():
        epochs = sorted(curve)
        last = epochs[-1] if epochs else 0
        before = [e for e in epochs if e <= 0.75 * last]
        if not before or max(curve, key=lambda e: curve[e]) < 0.9 * last:
            continue
        rise = curve[last] - max(curve[e] for e in before)
        if rise >= RISING:
            flag = f"{'student' if role.startswith('student') else role}_epochs"
            text = (
                f"{role}: under-trained: validation AP rose by {rise:.1f} to {curve[last]:.1f} in the last "
                f"quarter of its {last} epochs; try --{flag}={2 * last}"
            )
            found.append(finding("under-trained", text, rise=rise, AP=curve[last], epochs=last))
    return found


def over_trained(run: Finished) -> list[Finding]:
    """Validation AP fell clearly since its best epoch."""
    found = []
    for role, curve in run.validations.items():
        if len(curve) < 3:
            continue
        best, last = max(curve, key=lambda e: curve[e]), max(curve)
        fall = curve[best] - curve[last]
        if fall >= FALLING:
            text = (
                f"{role}: over-trained: validation AP was {curve[best]:.1f} after epoch {best} and "
                f"{curve[last]:.1f} after {last}; more images, more augmentation or fewer epochs"
            )
            found.append(finding("over-trained", text, best=curve[best], last=curve[last], epoch=best))
    return found


def rare_classes(run: Finished) -> list[Finding]:
    """Classes with few training objects that are found worse than the others."""
    train = run.data["splits"].get("train") if run.data else None
    if train is None:
        return []
    student: Any = run.results["roles"].get("student", {})
    scores, mean = student.get("per_class", {}), run.ap("student")
    labelled = run.config.data.labelled
    share = min(1.0, labelled / max(train["labelled"], 1)) if labelled else 1.0
    rare = []
    for name, own in sorted(train["per_class"].items(), key=lambda item: item[1]["objects"]):
        count, score = own["objects"] * share, scores.get(name)
        if count < FEW_OBJECTS and (score is None or mean is None or score < mean):
            result = "no test object" if score is None else f"AP {score:.1f}"
            rare.append((f"{name} {'about ' if share < 1 else ''}{count:.0f} ({result})", count))
    if not rare:
        return []
    more = f" and {len(rare) - 6} more" if len(rare) > 6 else ""
    text = (
        f"too few objects in the student's training labels, fewer than {FEW_OBJECTS}: "
        f"{', '.join(words for words, _ in rare[:6])}{more}"
        + (f"; AP of all classes {mean:.1f}" if mean is not None else "")
    )
    return [finding("too few objects", text, classes=len(rare), objects=rare[0][1])]


def small_objects(run: Finished) -> list[Finding]:
    """Many objects are small for the finest stride."""
    train = run.data["splits"].get("train") if run.data else None
    if run.data is None or train is None or not train["size_px"]:
        return []
    size, limits = train["size_px"], (0.05, 0.25, 0.5, 0.75, 0.95)
    # The quantiles that are known bound the share from below.
    share = max([0.0, *(q for q, px in zip(limits, size, strict=True) if px < SMALL_PX)])
    if share < SMALL_SHARE:
        return []
    side = run.data["image_size"]
    first = next((px for q, px in zip(limits, size, strict=True) if q > 0.05), size[-1])
    wanted = 32 * max(1, round(side * SMALL_PX / max(first, 0.1) / 32 + 0.49))
    student: Any = run.results["roles"].get("student", {})
    small = student.get("AP_small")
    score = "" if small is None else f"; AP of COCO's small objects {small:.1f}, of all {student['AP']:.1f}"
    text = (
        f"small objects: at least {share:.0%} of the training objects are below {SMALL_PX:g} px at the "
        f"{side} px input{score}; try --image_size={wanted}"
    )
    return [finding("small objects", text, share=share, px=SMALL_PX, image_size=side)]


def teacher_no_better(run: Finished) -> list[Finding]:
    """The teacher has little to teach."""
    teacher, student = run.ap("teacher"), run.ap("student")
    if teacher is None or student is None or teacher >= student + MARGIN:
        return []
    text = (
        f"teacher: not better than its student: test AP {teacher:.1f}, student {student:.1f}; "
        "train it longer, make it larger or give it more labels"
    )
    return [finding("teacher not better", text, teacher=teacher, student=student)]


def no_gain(run: Finished) -> list[Finding]:
    """The same student alone is as good."""
    alone, student = run.ap("student_alone"), run.ap("student")
    if alone is None or student is None or student >= alone + MARGIN:
        return []
    text = (
        f"distillation: {student - alone:+.1f} AP against the same student alone ({alone:.1f}); one seed "
        "differs from another by as much, and mkd ablate tells more"
    )
    return [finding("no gain", text, student=student, alone=alone)]


def wrong_teacher_labels(run: Finished) -> list[Finding]:
    """The teacher's labels often have the wrong class."""
    labels = run.results.get("teacher_labels")
    right = labels["class_right"] if labels else None
    if right is None or right >= RIGHT:
        return []
    text = (
        f"teacher's labels: {right:.0%} of their weight on objects has the right class; train a better "
        "teacher, or raise --teacher_boxes, the lowest score of a label"
    )
    return [finding("teacher's labels", text, class_right=right)]


def uncertain(run: Finished) -> list[Finding]:
    """The test split is small."""
    test = run.data["splits"].get("test") if run.data else None
    if test is None or test["objects"] >= FEW_TESTED:
        return []
    text = (
        f"test split: {test['objects']} objects in {test['images']} images: differences of a few points "
        "of AP are no evidence"
    )
    return [finding("small test split", text, objects=test["objects"], images=test["images"])]


def suspects(run: Finished) -> list[Finding]:
    """Labels that look wrong."""
    found = run.data["suspects"] if run.data else []
    if not found:
        return []
    kinds = ", ".join(f"{s['kind']} {s['count']:,}" for s in found[:4])
    text = f"data: {kinds}; mkd inspect_data --workdir={run.config.run.workdir} shows them"
    return [finding("data", text, kinds=len(found))]


RULES: tuple[Rule, ...] = (
    teacher_no_better,
    no_gain,
    under_trained,
    over_trained,
    rare_classes,
    small_objects,
    wrong_teacher_labels,
    uncertain,
    suspects,
)


def diagnose(run: Finished) -> list[Finding]:
    """Returns what every rule says of a run, the first `_MOST` of them."""
    return [found for rule in RULES for found in rule(run)][:_MOST]
