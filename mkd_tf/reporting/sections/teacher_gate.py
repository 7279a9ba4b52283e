"""The teacher on labelled images, before anything learned from it: a part of the objects found."""

from collections.abc import Iterator

from mkd_tf.reporting.base import Report
from mkd_tf.reporting.tables import DASH, Table, number


def _share(value: float | None) -> str:
    return DASH if value is None else f"{value:.0%}"


def tables(report: Report) -> Iterator[Table]:
    """Yields what `results.json` holds of the gate, nothing where there is none."""
    gate = report.subject.results.get("teacher_gate")
    if gate is None or report.subject.ablation is not None or gate["verdict"] == "unmeasured":
        return
    reasons = f"; {'; '.join(gate['reasons'])}" if gate["reasons"] else ""
    about = f"{gate['images']:,} images ({gate['split']}), before anything learned from it"
    rows = [
        [
            name,
            f"{c['objects']:,}",
            number(c["AP"], ".1f"),
            number(c["threshold"], ".2f"),
            _share(c["precision"]),
            _share(c["recall"]),
        ]
        for name, c in gate["per_class"].items()
    ]
    columns = ["class", "objects", "AP", "score of best F1", "precision", "recall"]
    yield Table(
        f"The teacher {gate['teacher']} on {about}: verdict {gate['verdict']}{reasons}", columns, rows
    )
    scores = [
        [f"{s['score']:g}", f"{s['detections']:,}", _share(s["precision"]), _share(s["recall"])]
        for s in gate["scores"]
    ]
    yield Table(
        "Precision and recall of the teacher's detections from a score on",
        ["score", "detections", "precision", "recall"],
        scores,
    )
