"""Seeds: the AP of every cell of an ablation, arm by arm."""

import statistics

from mkd_tf.reporting.base import Report, Section, counted, in_group
from mkd_tf.reporting.markup import Element
from mkd_tf.reporting.plot import series
from mkd_tf.reporting.scales import around
from mkd_tf.reporting.strips import Strip, row, rows
from mkd_tf.reporting.subject import Group
from mkd_tf.reporting.tables import Table, number


def make(report: Report) -> Section:
    """Returns a strip of dots for each arm, and the table behind them."""
    ablation = report.ablation
    body: list[Element | Table] = []
    for group in ablation.groups:
        body += [_strips(group, in_group(ablation, group)), _table(group)]
    lead = (
        "One dot is one trained student: its AP on the test split. The upright mark is the mean of an arm; "
        "controls are grey."
    )
    return Section("Seeds", lead, body)


def _strips(group: Group, title: str) -> Element:
    teachers = [r["teacher_AP"] for r in group.rows if r["teacher_AP"] is not None]
    scale = around([r["AP"] for r in group.rows] + teachers, "test AP")
    controls = {line["control"] for line in group.lines}
    items = []
    for arm in group.arms:
        found = group.of(arm)
        values = [r["AP"] for r in found]
        mean = statistics.fmean(values)
        style = series(3 if arm in controls else 0)
        titles = [f"seed {r['seed']}, teacher {r['teacher'] or 'given'}: AP {r['AP']:.2f}" for r in found]
        strip = Strip(scale).mark(mean, f"middle {style}")
        strip.dots(values, f"seed {style}", titles)
        if teachers:
            strip.rule(statistics.fmean(teachers))
        text = f"AP of {counted(len(found), 'seed')}: {', '.join(f'{v:.2f}' for v in values)}"
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        items.append(row(arm, strip.svg(arm, text), f"{mean:.2f}{spread}", counted(len(found), "seed")))
    if teachers:
        scale = around([r["AP"] for r in group.rows] + teachers, "test AP; line: mean of the teachers")
    return rows(scale, items, title)


def _table(group: Group) -> Table:
    seeds = sorted({r["seed"] for r in group.rows})
    texts = []
    for arm in group.arms:
        found = {r["seed"]: r["AP"] for r in group.of(arm)}
        spread = statistics.stdev(found.values()) if len(found) > 1 else None
        mean = statistics.fmean(found.values())
        texts.append(
            [arm, *(number(found.get(s), ".2f") for s in seeds), f"{mean:.2f}", number(spread, ".2f")]
        )
    columns = ["arm", *(f"seed {s}" for s in seeds), "mean", "standard deviation"]
    return Table(f"Test AP by seed on {group.name}", columns, texts)
