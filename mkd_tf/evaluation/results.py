"""What a work directory has measured: `results.json` (`schemas.ResultsFile`) and its table."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from rich.table import Table

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.schemas.training import ResultsFile

ROLES = ("teacher", "guide", "student_alone", "student")
"""Roles of a run in the order in which they are shown; a run may have more, as `student_qat`."""


def empty_results(**header: Any) -> ResultsFile:
    """Returns results without roles; `header` is `command`, `commit`, `dataset`, `image_size`."""
    return cast(ResultsFile, {"schema": 1, **header, "roles": {}, "files": {}})


def commit() -> str | None:
    """Returns the commit of the checkout that runs, `-dirty` if it was changed; None outside of one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    return done.stdout.strip() or None


def write_results(path: str | Path, results: ResultsFile) -> None:
    """Writes `results`; raises as `schemas.write` does."""
    schemas.write(path, results, ResultsFile)


def read_results(path: str | Path) -> ResultsFile:
    """Reads what `write_results` wrote; raises as `schemas.read` does."""
    return schemas.read(path, ResultsFile)


def take_results(path: Path) -> tuple[ResultsFile, str]:
    """As `read_results`, for a run that goes on: returns empty results where there are none.

    A damaged file gets another name, and what is wrong is returned too: roles that are done are
    written again from their `done.json`, exported files are in `export/manifest.json`.
    """
    if not path.exists():
        return empty_results(), ""
    try:
        return read_results(path), ""
    except MkdError as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        return empty_results(), f"{error} It is kept as {aside.name} and begun again."


def merge_role(results: ResultsFile, role: str, entry: Mapping[str, Any]) -> ResultsFile:
    """Returns new results in which `entry` is written over that of `role`; all else stays."""
    merged: Any = {**results["roles"].get(role, {}), **entry}
    return {**results, "roles": {**results["roles"], role: merged}}


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


def results_table(results: ResultsFile) -> Table:
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
            *(percent(value) for value in (entry.get("AP"), entry.get("AP50"), entry.get("AP75"))),
            _millions(entry.get("parameters")),
            _millions(entry.get("macs")),
            percent(entry.get("image_size"), "{:.0f}"),
            _pair(entry, "epochs", "steps"),
            percent(entry.get("seconds"), "{:.0f}"),
        )
    return table
