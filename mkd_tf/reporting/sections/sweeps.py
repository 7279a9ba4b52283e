"""Sweeps: AP over the value of a parameter, for arms that an ablation made of a list of values."""

import re
import statistics
from collections.abc import Iterator

from mkd_tf.config import options
from mkd_tf.reporting.base import NotMeasured, Report, Section, in_group
from mkd_tf.reporting.markup import Element
from mkd_tf.reporting.plot import Panel, figure, panels
from mkd_tf.reporting.scales import around
from mkd_tf.reporting.subject import Group

_NAME = re.compile(r"(?P<stem>.+)=(?P<value>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")


def sweeps_of(arms: list[str]) -> dict[str, list[tuple[float, str]]]:
    """Returns values and arms by what their names have before the last `=`, of at least two values each."""
    found: dict[str, list[tuple[float, str]]] = {}
    for arm in arms:
        match = _NAME.fullmatch(arm)
        if match:
            found.setdefault(match["stem"], []).append((float(match["value"]), arm))
    return {stem: sorted(values) for stem, values in found.items() if len(values) > 1}


def parameter_of(stem: str) -> tuple[str, str]:
    """Splits `cap_gradient_cap` into the arm and the flag, or the last word, that was varied."""
    parts = stem.split("_")
    names = ["_".join(parts[i:]) for i in range(1, len(parts))]
    name = next((n for n in names if n in options()), parts[-1])
    return stem.removesuffix(f"_{name}"), name


def make(report: Report) -> Section:
    """Returns one chart for each parameter that was varied."""
    ablation = report.ablation
    charts = [chart for g in ablation.groups for chart in _charts(report, g, in_group(ablation, g))]
    if not charts:
        raise NotMeasured("no arm of this ablation is a sweep over numbers (sweep = {...} in its file)")
    lead = (
        "Mean test AP over the seeds of each value, with dots for the seeds and a bar of one standard "
        "deviation to each side. The dashed line is the control's mean."
    )
    return Section("Sweeps", lead, [panels(charts)])


def _charts(report: Report, group: Group, name: str) -> Iterator[Element]:
    controls = {line["arm"]: line["control"] for line in group.lines}
    for stem, values in sweeps_of(group.arms).items():
        arm, parameter = parameter_of(stem)
        aps = {value: [r["AP"] for r in group.of(a)] for value, a in values}
        control = [r["AP"] for r in group.of(controls.get(values[0][1], ""))]
        level = [statistics.fmean(control)] if control else []
        xs = list(aps)
        # From 0.01 to 1 and the like: equal ratios at equal distances.
        log = min(xs) > 0 and max(xs) / min(xs) >= 8
        panel = Panel(
            around(xs, parameter, log=log), around([a for v in aps.values() for a in v] + level, "test AP")
        )
        for mean in level:
            panel.line([(panel.x.low, mean), (panel.x.high, mean)], "s3", f"control: {mean:.2f} AP")
        means = {x: statistics.fmean(found) for x, found in aps.items()}
        panel.line(means.items(), "s0")
        for x, found in aps.items():
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            panel.interval(x, means[x] - spread, means[x] + spread, "s0")
            panel.dots([(x, ap) for ap in found], "faint s0")
        panel.dots(means.items(), "s0", [f"{parameter}={x:g}: {m:.2f} AP" for x, m in means.items()])
        text = "; ".join(f"{parameter} {x:g}: {m:.2f} AP" for x, m in means.items())
        seeds = sum(map(len, aps.values()))
        note = f"{f'{name}; ' if name else ''}{seeds} students"
        yield figure(f"{arm}: {parameter}", note, panel.svg(f"AP over {parameter}", text))
