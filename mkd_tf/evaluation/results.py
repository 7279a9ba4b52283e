"""results.json: what a work directory has measured, in one versioned form.

    {"schema": 1, "command": ..., "commit": ..., "dataset": {...}, "image_size": ...,
     "roles": {"student": {"AP": 0..100, ..., "per_class": {name: AP}, "VOC_AP": 0..100,
                           "VOC07_AP": 0..100, "parameters": ...,
                           "macs": ..., "image_size": ..., "epochs": ..., "steps": ...,
                           "seconds": ..., "split": "test"}},
     "files": {"student_int8.tflite": {"AP": ..., "bytes": ..., ...}}}

A metric without anything to measure is null. Roles are those of `ROLES`; others may
stand beside them.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mkd_tf.checks import MkdError, fail
from mkd_tf.evaluation.coco import METRICS
from mkd_tf.evaluation.voc import VOC_METRICS
from mkd_tf.files import write_json

SCHEMA = 1
ROLES = ("teacher", "guide", "student_alone", "student")
"""Roles of a run in the order in which they are shown; a run may have more, as `student_qat`."""
Results = dict[str, Any]


def empty_results(**header: Any) -> Results:
    """Returns results without roles; `header` is `command`, `commit`, `dataset`, `image_size`."""
    return {"schema": SCHEMA, **header, "roles": {}, "files": {}}


def commit() -> str | None:
    """Returns the commit of the checkout that runs, `-dirty` if it was changed; None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    return done.stdout.strip() or None


def _check(results: Any, where: str) -> None:
    if not isinstance(results, Mapping) or results.get("schema") != SCHEMA:
        got = repr(results.get("schema")) if isinstance(results, Mapping) else type(results).__name__
        fail(
            where,
            expected=f"results of schema {SCHEMA}",
            got=got,
            do="Use the version of mkd_tf that wrote them, or measure again.",
        )
    for part in ("roles", "files"):
        entries = results.get(part, {})
        if not isinstance(entries, Mapping) or not all(isinstance(e, Mapping) for e in entries.values()):
            fail(f"{where}: {part}", expected="a dict of dicts", got=repr(entries), do="Measure again.")
    for role, entry in results.get("roles", {}).items():
        for metric in (*METRICS, *VOC_METRICS):
            value = entry.get(metric)
            if value is not None and not 0 <= value <= 100:
                fail(
                    f"{where}: {role}: {metric}",
                    expected="0..100 or null",
                    got=str(value),
                    do="Measure again.",
                )


def write_results(path: str | Path, results: Results) -> None:
    """Writes `results`, whole or not at all.

    Raises:
      MkdError: if they are not of the schema, hold NaN, or cannot be written.
    """
    _check(results, str(path))
    write_json(path, results)


def read_results(path: str | Path) -> Results:
    """Reads what `write_results` wrote.

    Raises:
      MkdError: if there is no such file, or it is damaged or of another schema.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        fail(
            str(path), expected="results", got="no such file", do="Train or evaluate in this --workdir first."
        )
    except OSError as error:
        raise MkdError(
            f"{path}: cannot be read: {error.strerror}. Give the path of a results.json."
        ) from None
    except ValueError as error:
        fail(str(path), expected="JSON", got=f"a damaged file ({error})", do="Restore it or measure again.")
    _check(results, str(path))
    return {**results, "roles": results.get("roles", {}), "files": results.get("files", {})}


def merge_role(results: Results, role: str, entry: Mapping[str, Any]) -> Results:
    """Returns new results in which `entry` is written over that of `role`; all else stays."""
    roles = dict(results["roles"])
    roles[role] = {**roles.get(role, {}), **entry}
    return {**results, "roles": roles}


def in_order(roles: Iterable[str]) -> list[str]:
    """Returns roles in the order in which they are shown: the known ones, then others by name."""
    places = {role: place for place, role in enumerate(ROLES)}
    return sorted(roles, key=lambda role: (places.get(role, len(ROLES)), role))


def percent(value: float | None, form: str = "{:.1f}") -> str:
    """Returns a metric as text, a dash where there was nothing to measure."""
    return "–" if value is None else form.format(value)


def _millions(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:.2f} M"


def _pair(entry: Mapping[str, Any], first: str, second: str) -> str:
    return f"{percent(entry.get(first), '{:.0f}')} / {percent(entry.get(second), '{:.0f}')}"


def results_table(results: Results) -> Table:
    """Returns one row per role in `in_order`, a dash for what is not measured."""
    splits = sorted({e["split"] for e in results["roles"].values() if e.get("split")})
    table = Table(title=f"Average precision on {', '.join(splits)}" if splits else None)
    table.add_column("role")
    for title in ("AP", "AP50", "AP75", "parameters", "MACs", "image px", "epochs / steps", "seconds"):
        table.add_column(title, justify="right")
    for role in in_order(results["roles"]):
        entry = results["roles"][role]
        table.add_row(
            role,
            *(percent(entry.get(metric)) for metric in METRICS[:3]),
            _millions(entry.get("parameters")),
            _millions(entry.get("macs")),
            percent(entry.get("image_size"), "{:.0f}"),
            _pair(entry, "epochs", "steps"),
            percent(entry.get("seconds"), "{:.0f}"),
        )
    return table


def make_console() -> Console:
    """Returns where a program reports; a log has no width of its own, and a table needs one."""
    console = Console()
    return console if console.is_terminal else Console(width=110)


def print_results(results: Results, console: Console | None = None) -> None:
    """Prints the table of `results`."""
    (console or make_console()).print(results_table(results))
