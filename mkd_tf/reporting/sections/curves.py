"""Training: losses, validation AP and the terms' shares of the gradient, over the steps."""

from collections.abc import Iterator, Mapping
from typing import Any

from mkd_tf.checks import MkdError
from mkd_tf.reporting.base import NotMeasured, Report, Section
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.plot import Panel, figure, legend, panels, series
from mkd_tf.reporting.scales import Scale, around
from mkd_tf.reporting.subject import Row, read_csv

# Beside the terms of the loss in `history.csv`.
_OTHERS = ("epoch", "total", "val_AP", "learning_rate", "seconds")
_DETAILS = ("raw_", "weight_", "share_")
History = list[Row]


def make(report: Report) -> Section:
    """Returns charts over the steps of the training, of all networks and of each."""
    histories, missing = _histories(report)
    if not histories:
        raise NotMeasured("; ".join(missing) or "there is no history.csv")
    steps = {name: _steps(report.subject.role(name), rows) for name, rows in histories.items()}
    unit = "step" if all(scale > 1 for scale in steps.values()) else "epoch"
    scales = steps if unit == "step" else dict.fromkeys(steps, 1.0)
    common = [
        _over_networks(report, histories, scales, unit, column, title, note)
        for column, title, note in (
            ("val_AP", "Validation AP", "averaged weights, which are shipped"),
            ("total", "Total loss", "of different terms in each network"),
            ("learning_rate", "Learning rate", "at the end of each epoch"),
        )
    ]
    body: list[Element] = [report.legend(list(histories)), panels([c for c in common if c is not None])]
    for name, rows in histories.items():
        charts = list(_terms(name, rows, scales[name], unit))
        if charts:
            body.append(node("details", node("summary", f"Terms of the loss: {name}"), *charts))
    body += [node("p", text, class_="missing") for text in missing]
    about = f" Networks of {report.subject.about}." if report.subject.about else ""
    lead = f"What the training logged, one point an epoch.{about}"
    return Section("Training", lead, body)


def _histories(report: Report) -> tuple[dict[str, History], list[str]]:
    found, missing = {}, []
    for name in report.drawn:
        path = report.subject.stages[name] / "history.csv"
        try:
            rows = read_csv(path, ["epoch"]) if path.is_file() else []
        except MkdError as error:
            missing.append(f"{name} not shown: {error}")
            continue
        if rows:
            found[name] = rows
        else:
            missing.append(
                f"{name} not shown: no history.csv; it was given as a file or learned in another stage"
            )
    return found, missing


def _steps(role: Mapping[str, Any], rows: History) -> float:
    """Returns the steps of an epoch, 1 where they are not known."""
    epochs = role.get("epochs") or 0
    return role["steps"] / epochs if epochs and role.get("steps") else 1.0


def _points(rows: History, column: str, scale: float) -> list[tuple[float, float]]:
    return [(r["epoch"] * scale, r[column]) for r in rows if r.get(column) is not None]


def _x(points: Mapping[str, list[tuple[float, float]]], unit: str) -> Scale:
    return Scale(0, max((x for p in points.values() for x, _ in p), default=1), unit)


def _over_networks(
    report: Report,
    histories: Mapping[str, History],
    scales: Mapping[str, float],
    unit: str,
    column: str,
    title: str,
    note: str,
) -> Element | None:
    points = {name: _points(rows, column, scales[name]) for name, rows in histories.items()}
    values = [y for found in points.values() for _, y in found]
    if not values:
        return None
    panel = Panel(_x(points, unit), around(values, zero=True))
    for name, found in points.items():
        panel.line(found, report.style(name), name)
    ends = [f"{name} ends at {found[-1][1]:.3g}" for name, found in points.items() if found]
    return figure(title, note, panel.svg(f"{title} over the {unit}s", "; ".join(ends)))


def _terms(name: str, rows: History, scale: float, unit: str) -> Iterator[Element]:
    columns = [c for c in rows[0] if c not in _OTHERS and not c.startswith(_DETAILS)]
    shares = [c for c in rows[0] if c.startswith("share_")]
    # A term has one colour in all charts of its network.
    names = list(dict.fromkeys([*columns, *(c.removeprefix("share_") for c in shares)]))
    style = {term: series(i) for i, term in enumerate(names)}
    charts = []
    for chosen, title, note, prefix in (
        (columns, "Terms of the loss", "weights included", ""),
        (shares, "Gradient shares", "gradient of a term at the taps, in units of the task's", "share_"),
    ):
        points = {c.removeprefix(prefix): _points(rows, c, scale) for c in chosen}
        points = {term: found for term, found in points.items() if found}
        if points:
            values = [y for found in points.values() for _, y in found]
            panel = Panel(_x(points, unit), around(values, zero=True))
            for term, found in points.items():
                panel.line(found, style[term], term)
            ends = "; ".join(f"{term} ends at {found[-1][1]:.3g}" for term, found in points.items())
            charts.append(figure(title, note, panel.svg(f"{name}: {title} over the {unit}s", ends)))
    if charts:
        yield legend(style.items())
        yield panels(charts)
    if not shares and charts:
        yield node(
            "p", "Gradient shares not measured: this network has no teacher's terms.", class_="missing"
        )
