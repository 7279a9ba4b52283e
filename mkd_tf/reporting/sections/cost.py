"""Cost: parameters, multiply-adds, sizes of files, latency and time of training."""

from pathlib import Path
from typing import Any

from mkd_tf.reporting.base import Report, Section
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.plot import Panel, figure, panels
from mkd_tf.reporting.scales import around
from mkd_tf.reporting.subject import Group, read_csv
from mkd_tf.reporting.tables import DASH, Table, number


def size_text(count: float | None) -> str:
    """Returns a size in bytes in a unit that fits: `1.2 MB`."""
    if count is None:
        return DASH
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def make(report: Report) -> Section:
    """Returns what networks and exported files cost, and AP over that."""
    subject = report.subject
    entries = {name: subject.role(name) for name in subject.stages}
    body: list[Element | Table] = []
    if any(entry.get("AP") is not None for entry in entries.values()):
        body.append(panels([_chart(report, entries, n, label) for n, label in _AXES if _known(entries, n)]))
    if entries:
        body.append(_networks(report, entries))
    files = subject.results["files"] if subject.ablation is None else {}
    if files:
        body.append(_files(files))
    elif subject.ablation is None:
        body.append(
            _missing("Exported files and their latency not measured: export with ", "mkd export", ".")
        )
    else:
        body += [_times(report, group) for group in report.ablation.groups]
        body.append(_missing("Latency not measured: export a cell's student with ", "mkd export", "."))
    lead = (
        "Parameters count all weights of the network in use; multiply-adds are for one image at its input "
        "size. Training seconds are those of the machine that trained."
    )
    return Section("Cost", lead, body)


_AXES = (("parameters", "parameters"), ("macs", "multiply-adds"))


def _missing(before: str, command: str, after: str) -> Element:
    return node("p", before, node("code", command), after, class_="missing")


def _known(entries: dict[str, Any], name: str) -> bool:
    return any(e.get(name) and e.get("AP") is not None for e in entries.values())


def _chart(report: Report, entries: dict[str, Any], axis: str, label: str) -> Element:
    points = {
        n: (float(e[axis]), e["AP"]) for n, e in entries.items() if e.get(axis) and e.get("AP") is not None
    }
    panel = Panel(
        around([x for x, _ in points.values()], label, log=True),
        around([y for _, y in points.values()], "test AP"),
    )
    for name, point in points.items():
        panel.dots(
            [point], f"large {report.style(name)}", [f"{name}: {point[1]:.1f} AP, {point[0]:,.0f} {label}"]
        )
        if len(points) <= 6:
            panel.label(*point, name)
    text = "; ".join(f"{name}: {x:,.0f}, {y:.1f} AP" for name, (x, y) in points.items())
    return figure(f"AP over {label}", "top left is best", panel.svg(f"AP over {label}", text))


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _networks(report: Report, entries: dict[str, Any]) -> Table:
    rows = []
    for name, entry in entries.items():
        macs = entry.get("macs")
        rows.append(
            [
                name,
                number(entry.get("image_size"), "d"),
                number(entry.get("parameters"), ",d"),
                DASH if macs is None else f"{macs / 1e6:,.1f} M",
                size_text(_bytes(report.subject.stages[name] / "best.keras")),
                number(entry.get("epochs"), "d"),
                number(entry.get("steps"), ",d"),
                number(entry.get("seconds"), ",.0f"),
            ]
        )
    columns = [
        "network",
        "image px",
        "parameters",
        "multiply-adds",
        ".keras file",
        "epochs",
        "steps",
        "seconds",
    ]
    about = f": {report.subject.about}" if report.subject.about else ""
    return Table(f"What each network costs{about}", columns, rows)


def _files(files: Any) -> Table:
    rows = []
    for name, entry in sorted(files.items()):
        latency = f"{entry['latency_ms']:.2f} ms, {entry['threads']} thr."
        drop = number(entry["AP_drop"], "+.2f") if entry["AP_drop"] is not None else DASH
        rows.append([name, size_text(entry["bytes"]), latency, number(entry["AP"]), drop, entry["verdict"]])
    columns = ["file", "size", "latency, median", "AP", "AP lost", "verdict"]
    return Table("Exported files", columns, rows, ["verdict"])


def _times(report: Report, group: Group) -> Table:
    path = report.subject.folder / "times.csv"
    times = {r["path"]: r["seconds"] for r in (read_csv(path, ["path", "seconds"]) if path.is_file() else [])}
    rows = []
    for arm in group.arms:
        cells = group.of(arm)
        known = [times[r["path"]] for r in cells if times.get(r["path"]) is not None]
        mean = sum(known) / len(known) if known else None
        rows.append(
            [arm, str(len(cells)), number(cells[0]["parameters"], ",d"), number(cells[0]["steps"], ",d")]
        )
        rows[-1].append(number(mean, ",.0f"))
    return Table(f"Students of {group.name}", ["arm", "seeds", "parameters", "steps", "seconds, mean"], rows)
