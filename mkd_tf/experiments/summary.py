"""The comparison of every arm with its control, per data set and network."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.experiments.matches import Matches, average_precision
from mkd_tf.experiments.records import Row
from mkd_tf.experiments.spec import Experiment
from mkd_tf.experiments.statistics import compare, gap_closed, holm, image_weights

MATCHES = "matches.npz"
COLUMNS = (
    "dataset",
    "network",
    "arm",
    "control",
    "seeds",
    "teachers",
    "AP",
    "control_AP",
    "difference",
    "low",
    "high",
    "t_low",
    "t_high",
    "p",
    "p_holm",
    "gap_to_teacher",
    "gap_to_ceiling",
    "verdict",
)


class Resampled:
    """AP of cells on the same resampled images, each computed once."""

    def __init__(self, root: Path, draws: int, report: Callable[[], None] = lambda: None):
        self._root, self._draws, self._report = root, draws, report
        self._weights: dict[int, np.ndarray] = {}
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, path: str) -> np.ndarray:
        """Returns the AP `[B]` of the cell in the folder `path`."""
        if path not in self._known:
            matches = Matches.load(self._root / path / MATCHES)
            images = len(matches.objects)
            if images not in self._weights:
                self._weights[images] = image_weights(images, self._draws)
            self._known[path] = average_precision(matches, self._weights[images])
            self._report()
        return self._known[path]


def _groups(teachers: Sequence[str]) -> list[list[int]]:
    """Returns the positions of the seeds that share a teacher, one list for each teacher."""
    return [[i for i, t in enumerate(teachers) if t == teacher] for teacher in dict.fromkeys(teachers)]


def _differences(arm: list[Row], control: list[Row], resampled: Resampled) -> np.ndarray:
    found = []
    for one, other in zip(arm, control, strict=True):
        images = resampled(one["path"]), resampled(other["path"])
        if len(images[0]) != len(images[1]):
            fail(one["path"], expected="the images of its control", got="others", do="Delete both cells.")
        found.append(images[0] - images[1])
    return np.stack(found)


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows]
    return float(np.mean(values)) if values and None not in values else None


def _compared(
    experiment: Experiment, cells: Mapping[tuple[str, int], Row], resampled: Resampled
) -> list[dict[str, Any]]:
    """Returns the summary of one data set and network; `cells` are by arm and seed."""
    lines = []
    for arm in experiment.compared:
        control = experiment.control_of(arm)
        seeds = [s for s in experiment.seeds if (arm, s) in cells and (control, s) in cells]
        if not seeds:
            continue
        mine, theirs = ([cells[name, seed] for seed in seeds] for name in (arm, control))
        values, others = (np.array([row["AP"] for row in rows], "float64") for rows in (mine, theirs))
        found = compare(
            values,
            others,
            _differences(mine, theirs, resampled),
            _groups([row["teacher"] for row in theirs]),
            experiment.rule,
        )
        low, high = found.interval or (None, None)
        t_low, t_high = found.t_interval or (None, None)
        mean, other = float(np.mean(values)), float(np.mean(others))
        best = [cells[experiment.ceiling, s] for s in seeds if (experiment.ceiling, s) in cells]
        ceiling = _mean(best, "AP") if len(best) == len(seeds) and arm != experiment.ceiling else None
        teacher = _mean(theirs, "teacher_AP")
        lines.append(
            {
                "arm": arm,
                "control": control,
                **{
                    name: getattr(found, name) for name in ("seeds", "teachers", "difference", "p", "verdict")
                },
                "AP": mean,
                "control_AP": other,
                "low": low,
                "high": high,
                "t_low": t_low,
                "t_high": t_high,
                "gap_to_teacher": None if teacher is None else gap_closed(mean, other, teacher),
                "gap_to_ceiling": None if ceiling is None else gap_closed(mean, other, ceiling),
            }
        )
    adjusted = holm({line["arm"]: line["p"] for line in lines})
    return [line | {"p_holm": adjusted[line["arm"]]} for line in lines]


def summarize(experiment: Experiment, rows: Sequence[Row], resampled: Resampled) -> list[dict[str, Any]]:
    """Returns one line, by `COLUMNS`, for every arm with a control on each data set and network.

    Args:
      experiment: what was run.
      rows: of the cells that are done and have `MATCHES`.
      resampled: makes the AP of a cell on resampled images.
    """
    lines: list[dict[str, Any]] = []
    for dataset in experiment.datasets:
        for network in experiment.networks:
            here = [r for r in rows if (r["dataset"], r["network"]) == (dataset, network)]
            cells = {(r["arm"], r["seed"]): r for r in here if r["AP"] is not None}
            found = _compared(experiment, cells, resampled)
            lines += [{"dataset": dataset, "network": network, **line} for line in found]
    return lines


def with_matches(root: Path, rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of the cells whose matches are there."""
    return [row for row in rows if (root / row["path"] / MATCHES).exists()]
