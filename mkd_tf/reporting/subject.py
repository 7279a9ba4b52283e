"""What a report is about: a training run or an ablation, read from its folder."""

import csv
import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.evaluation.results import in_order
from mkd_tf.experiments import records, summary
from mkd_tf.experiments.spec import Experiment, read_experiment
from mkd_tf.schemas.training import ResultsFile

EXPERIMENT = "experiment.toml"
SHARED = "teacher (shared)"
"""The name of an ablation's teacher where an arm is called `teacher`; no arm's name has a space."""
# Results of earlier versions lack the columns of objects found, which a report does not read.
_READ = tuple(name for name in records.COLUMNS if name not in records.FOUND)
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Group:
    """The cells of an ablation with one data set and one network.

    Attributes:
      lines: of `summary.csv`, one for each arm with a control.
      rows: of `results.csv`, one for each cell.
    """

    dataset: str
    network: str
    lines: tuple[Row, ...]
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.network}"

    @property
    def arms(self) -> list[str]:
        """The arms with a cell, controls first."""
        names = list(dict.fromkeys(row["arm"] for row in self.rows))
        controls = {line["control"] for line in self.lines}
        return sorted(names, key=lambda name: name not in controls)

    def of(self, arm: str) -> list[Row]:
        """Returns the rows of an arm by seed."""
        return sorted((r for r in self.rows if r["arm"] == arm), key=lambda r: r["seed"])


@dataclasses.dataclass(frozen=True)
class Ablation:
    """An ablation.

    Attributes:
      groups: one for each data set and network.
      experiment: what its file describes; None where the folder has no copy that can be read.
      rule: of the verdicts, in words; empty where it is not known.
    """

    groups: tuple[Group, ...]
    experiment: Experiment | None
    rule: str

    @property
    def level(self) -> str:
        """The level of the intervals, in words."""
        return f"{100 * (self.experiment.rule.level if self.experiment else 0.95):g} %"


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
      folder: of the run or the ablation.
      results: of the run; empty for an ablation.
      stages: the folder of each network by its name: a role, or the arm that it belongs to.
      workdir: of the run; of an ablation the cell whose data set is read.
      ablation: None for a run.
    """

    folder: Path
    results: ResultsFile
    stages: Mapping[str, Path]
    workdir: Path
    ablation: Ablation | None = None

    @property
    def about(self) -> str:
        """Which networks figures are of, where that is not plain."""
        if self.ablation is None or not self.stages:
            return ""
        group, seed = self.ablation.groups[0], self.workdir.name.removeprefix("seed")
        return f"{group.name}, seed {seed}"

    def role(self, name: str) -> Mapping[str, Any]:
        """Returns what a network of the subject has measured, empty if that is not known."""
        if self.ablation is None:
            return self.results["roles"].get(name, {})
        path = self.stages[name].parent / "results.json"
        return schemas.read(path, ResultsFile)["roles"].get(self.stages[name].name, {})


def read_subject(folder: str | Path) -> Subject:
    """Reads a work directory of `mkd train` or of `mkd ablate`.

    Raises:
      MkdError: if it is neither, or a file in it is damaged.
    """
    root = Path(folder)
    if not root.is_dir():
        fail(f"workdir {folder}", expected="a folder", got="none of that name", do="Give --workdir=...")
    if (root / "summary.csv").is_file() and (root / "results.csv").is_file():
        return _ablation(root)
    if not (root / "results.json").is_file():
        fail(
            f"workdir {folder}",
            expected="the results.json of a training run, or the results.csv and summary.csv of an ablation",
            got="none of them",
            do="Give the --workdir of mkd train or mkd ablate. A run has results once a role is done.",
        )
    results = schemas.read(root / "results.json", ResultsFile)
    if not results["roles"] and not results["files"]:
        fail(
            str(root / "results.json"), expected="a trained role or an exported file", got="none", do="Train."
        )
    return Subject(root, results, {role: root / role for role in in_order(results["roles"])}, root)


def _ablation(root: Path) -> Subject:
    lines = read_csv(root / "summary.csv", summary.COLUMNS)
    rows = [row for row in read_csv(root / "results.csv", _READ) if row["AP"] is not None]
    if not rows:
        fail(str(root / "results.csv"), expected="a finished cell", got="none", do="Let mkd ablate go on.")
    keys = dict.fromkeys((row["dataset"], row["network"]) for row in rows)
    groups = tuple(
        Group(
            *key, *(tuple(r for r in part if (r["dataset"], r["network"]) == key) for part in (lines, rows))
        )
        for key in keys
    )
    experiment = _experiment(root / EXPERIMENT)
    first = groups[0]
    # The seed that most arms have: their networks are drawn beside each other.
    seeds = [row["seed"] for row in first.rows]
    seed = max(seeds, key=lambda s: (seeds.count(s), -s))
    cells = {row["arm"]: root / row["path"] for row in first.rows if row["seed"] == seed}
    # The tables of an ablation may have been kept without its cells.
    cells = {arm: cells[arm] for arm in first.arms if arm in cells and (cells[arm] / "student").is_dir()}
    stages = {arm: cell / "student" for arm, cell in cells.items()}
    workdir = next(iter(cells.values()), root)
    if cells and (workdir / "teacher").is_dir():
        stages = {SHARED if "teacher" in stages else "teacher": workdir / "teacher"} | stages
    results: ResultsFile = {"roles": {}, "files": {}}
    rule = str(experiment.rule) if experiment else _rule(root / "summary.md")
    return Subject(root, results, stages, workdir, Ablation(groups, experiment, rule))


def _experiment(path: Path) -> Experiment | None:
    """Returns what an ablation's file describes; None without a copy that this version reads."""
    try:
        return read_experiment(path)
    except MkdError:
        return None


def _rule(path: Path) -> str:
    if not path.is_file():
        return ""
    found = re.search(r"^Rule, [^:]*: (.*)\.$", path.read_text("utf-8", errors="replace"), flags=re.MULTILINE)
    return found[1] if found else ""


_WORDS = {"arm", "dataset", "network", "teacher", "path", "control", "verdict"}


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[Row]:
    """Reads what a program wrote: numbers where a column holds some, None for nothing.

    Raises:
      MkdError: if one of `columns` is missing, or the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                fail(
                    str(path),
                    expected=f"the column {missing[0]}",
                    got=", ".join(reader.fieldnames or ()) or "an empty file",
                    do="Give the command that wrote it once more.",
                )
            return [{name: _value(name, text) for name, text in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, MkdError):
            raise
        raise MkdError(
            f"{path}: cannot be read ({error}). Give the command that wrote it once more."
        ) from None


def _value(name: str | None, text: str | list[str] | None) -> Any:
    if name is None or text is None or isinstance(text, list):
        raise ValueError("a line has more or fewer fields than the header")
    if name in _WORDS:
        return text
    number = float(text) if text else math.nan
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and "." not in text else number


def flags_of(cell: Path) -> dict[str, str]:
    """Returns the flags that a cell of an ablation was begun with, empty if they are not known."""
    try:
        return dict(json.loads((cell / "job.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
