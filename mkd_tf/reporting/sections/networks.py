"""Accuracy: average precision of every network, by object size and by class."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.evaluation.coco import METRICS
from mkd_tf.reporting.base import NotMeasured, Report, Section, left_out
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.subject import Group
from mkd_tf.reporting.tables import Table, number
from mkd_tf.schemas.training import ResultsFile

_TITLES = {"AP_small": "AP small", "AP_medium": "AP medium", "AP_large": "AP large", "VOC_AP": "VOC AP"}
_NAMES = (*METRICS, "VOC_AP")
_LEAD = (
    "Average precision in percent by the COCO protocol (Lin et al., ECCV 2014): the mean over IoU thresholds "
    "0.50 to 0.95, at 0.50 and at 0.75 alone, and for objects below 32² px, up to 96² px and above."
)


def make(report: Report) -> Section:
    """Returns a table of the metrics and one of AP by class."""
    if report.subject.ablation is not None:
        body: list[Element | Table] = []
        for group in report.ablation.groups:
            body += [_mean_table(group), *_mean_by_class(report, group)]
        return Section("Accuracy", f"{_LEAD} Figures are means over seeds.", body)
    entries = {name: report.subject.role(name) for name in report.subject.stages}
    if not entries:
        raise NotMeasured("this folder has exported files and no trained network")
    note = (
        "These are the figures of results.json, on the whole split, of the averaged weights at the end of "
        "the training (final.keras). 'Selected' is best.keras, the epoch that is best on validation: it is "
        "distilled from and exported, and the charts below are of it."
    )
    tables = _metrics(entries), _by_class(entries)
    return Section("Accuracy", _LEAD, [*tables, node("p", note, class_="note"), *_operating(report)])


def _split(entries: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(sorted({e.get("split", "test") for e in entries.values()}))


def _metrics(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    names = [n for n in _NAMES if any(e.get(n) is not None for e in entries.values())]
    selected = any("best_AP" in e for e in entries.values())
    columns = ["network", *(_TITLES.get(n, n) for n in names), *(["AP selected"] if selected else [])]
    rows = [
        [
            role,
            *(number(e.get(n)) for n in names),
            *([number(e.get("best_AP", e.get("AP")))] if selected else []),
        ]
        for role, e in entries.items()
    ]
    return Table(f"Average precision on the {_split(entries)} split", columns, rows)


def shade_of(rows: Sequence[Sequence[float | None]]) -> Callable[[int, int], float]:
    """Returns how strongly cells are shaded: by their share of the greatest number of all, at least 10."""
    most = max([10.0, *(v for row in rows for v in row if v is not None)])

    def shade(row: int, column: int) -> float:
        value = rows[row][column - 1]
        return 0.0 if value is None else value / most

    return shade


def _by_class(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    classes = list(dict.fromkeys(name for e in entries.values() for name in e.get("per_class", {})))
    values = [[e.get("per_class", {}).get(name) for e in entries.values()] for name in classes]
    rows = [[name, *map(number, row)] for name, row in zip(classes, values, strict=True)]
    caption = f"AP by class on the {_split(entries)} split"
    return Table(caption, ["class", *entries], rows, shade=shade_of(values))


def _operating(report: Report) -> list[Element | Table]:
    try:
        measured = report.measured()
    except NotMeasured as error:
        return [node("p", f"Operating points not measured: {error}", class_="missing")]
    rows = []
    for name, network in measured.networks.items():
        right, shown, objects = network.judged.at(network.threshold)
        precision, recall = right / shown if shown else None, right / objects if objects else None
        f1 = 2 * right / (shown + objects) if shown + objects else None
        shares = [number(v, ".3f") for v in (precision, recall, f1)]
        rows.append([name, f"{network.threshold:.4f}", network.point, *shares, f"{shown:,}", f"{right:,}"])
    columns = ["network", "threshold", "chosen by", "precision", "recall", "F1", "detections", "right"]
    objects = int(next(iter(measured.networks.values())).judged.objects.sum())
    caption = f"Each network at its own operating point: {objects:,} objects in {measured.counted}, IoU 0.5"
    found: list[Element | Table] = [Table(caption, columns, rows, ["chosen by"])]
    return [*found, *(node("p", text, class_="missing") for text in left_out(measured))]


def _mean_table(group: Group) -> Table:
    names = [n for n in _NAMES if any(r[n] is not None for r in group.rows)]
    rows = []
    for arm in group.arms:
        found = group.of(arm)
        rows.append([arm, str(len(found)), *(_mean([r[n] for r in found]) for n in names)])
    columns = ["arm", "seeds", *(_TITLES.get(n, n) for n in names)]
    return Table(f"Average precision on {group.name}: mean over seeds, test split", columns, rows)


def _mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return number(statistics.fmean(known) if known else None)


def _mean_by_class(report: Report, group: Group) -> list[Element | Table]:
    found: dict[str, list[Mapping[str, float | None]]] = {arm: [] for arm in group.arms}
    missing: list[Element | Table] = []
    for row in group.rows:
        path = report.subject.folder / row["path"] / "results.json"
        if not path.is_file():
            continue
        try:
            roles: Mapping[str, Any] = schemas.read(path, ResultsFile)["roles"]
        except MkdError as error:
            text = f"{row['arm']}, seed {row['seed']}, not in AP by class: {error}"
            missing.append(node("p", text, class_="missing"))
            continue
        found[row["arm"]].append(roles.get("student", {}).get("per_class", {}))
    classes = list(dict.fromkeys(name for cells in found.values() for cell in cells for name in cell))
    if not classes:
        text = f"AP by class not measured on {group.name}: the cells' folders are not here."
        return missing or [node("p", text, class_="missing")]
    values: list[list[float | None]] = []
    for name in classes:
        known = [[v for c in cells if (v := c.get(name)) is not None] for cells in found.values()]
        values.append([statistics.fmean(v) if v else None for v in known])
    rows = [[name, *map(number, row)] for name, row in zip(classes, values, strict=True)]
    caption = f"AP by class on {group.name}: mean over seeds"
    return [Table(caption, ["class", *found], rows, shade=shade_of(values)), *missing]
