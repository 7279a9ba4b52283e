"""What finished cells have measured, as rows of a table with one line per cell."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf import schemas
from mkd_tf.experiments.grid import Cell
from mkd_tf.experiments.pool import is_done
from mkd_tf.files import write_bytes
from mkd_tf.schemas.training import ResultsFile

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "VOC_AP")
_BEYOND = ("objects", "both", "student_only", "teacher_only", "neither")
# At equal counts and at equal precision: with as many detections as the teacher shows, and at its precision.
FOUND = (
    "found",
    "detections",
    "found_at_equal_count",
    "found_at_equal_precision",
    "beyond_at_equal_precision",
)
_KEYS = ("arm", "dataset", "network", "seed", "teacher")
COLUMNS = (*_KEYS, *METRICS, "teacher_AP", "guide_AP", *_BEYOND, *FOUND, "steps", "parameters", "path")
TIMES = (*_KEYS, "seconds", "path")
Row = dict[str, Any]


def row_of(cell: Cell, root: Path) -> Row | None:
    """Returns what a cell has measured, by `COLUMNS` and `seconds`; None for one that is not done.

    Raises:
      MkdError: if its results are damaged.
    """
    if not is_done(root, cell.job):
        return None
    roles = schemas.read(root / cell.job.name / "results.json", ResultsFile)["roles"]
    student: Mapping[str, Any] = roles["student"]
    beyond = student.get("beyond_teacher", {})
    return {
        **{name: getattr(cell, name) for name in _KEYS},
        **{name: student.get(name) for name in METRICS},
        **{f"{role}_AP": roles[role]["AP"] if role in roles else None for role in ("teacher", "guide")},
        # Earlier versions compared both networks at a common score.
        **{name: beyond.get(name) if "teacher_score" in beyond else None for name in _BEYOND},
        **_found(student),
        **{name: student[name] for name in ("steps", "parameters", "seconds")},
        "path": cell.job.name,
    }


def _found(student: Mapping[str, Any]) -> Row:
    """Returns the columns `FOUND`; None for what an earlier version did not measure."""
    own, beyond = student.get("found", {}), student.get("beyond_teacher", {})
    count, precision = (beyond.get(f"equal_{name}", {}) for name in ("count", "precision"))
    values = (own.get("found"), own.get("detections"), count.get("found"), precision.get("found"))
    return dict(zip(FOUND, (*values, precision.get("student_only")), strict=True))


def _written(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows with a header, whole or not at all; fractions with four digits, None as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_written(row[name]) for name in columns] for row in rows)
    write_bytes(path, text.getvalue().encode("utf-8"))


def write_records(root: Path, rows: Sequence[Row]) -> None:
    """Writes `results.csv`, which depends on the cells alone, and `times.csv`."""
    write_csv(root / "results.csv", COLUMNS, rows)
    write_csv(root / "times.csv", TIMES, rows)
