"""What a report shows of the gate."""

from types import SimpleNamespace
from typing import Any

from mkd_tf.reporting.sections.teacher_gate import tables

GATE: dict[str, Any] = {
    "teacher": "theirs",
    "images": 1200,
    "split": "validation",
    "verdict": "weak",
    "reasons": ["it does not know dog"],
    "per_class": {
        "cat": {"objects": 30, "AP": 41.26, "threshold": 0.305, "precision": 0.5, "recall": 0.25},
        "dog": {"objects": 9, "AP": None, "threshold": None, "precision": None, "recall": 0.0},
    },
    "scores": [{"score": 0.05, "detections": 1500, "precision": 0.2, "recall": 0.9}],
}


def shown(gate: Any, ablation: Any = None) -> list:
    results = {} if gate is None else {"teacher_gate": gate}
    return list(tables(SimpleNamespace(subject=SimpleNamespace(results=results, ablation=ablation))))  # type: ignore[arg-type]


def test_classes_and_scores_are_two_tables():
    classes, scores = shown(GATE)
    assert classes.caption == (
        "The teacher theirs on 1,200 images (validation), before anything learned from it: verdict weak; "
        "it does not know dog"
    )
    assert classes.rows == [["cat", "30", "41.3", "0.30", "50%", "25%"], ["dog", "9", "–", "–", "–", "0%"]]
    assert scores.rows == [["0.05", "1,500", "20%", "90%"]]


def test_nothing_is_shown_of_what_was_not_measured():
    assert shown(None) == shown(GATE | {"verdict": "unmeasured"}) == shown(GATE, ablation=object()) == []
