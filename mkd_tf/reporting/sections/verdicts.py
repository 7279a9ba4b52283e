"""Verdicts: is an arm better than its control, by the rule written down before the run."""

from collections.abc import Mapping
from typing import Any

from mkd_tf.experiments.statistics import BETTER, NO_BETTER, WORSE
from mkd_tf.reporting.base import Report, Section, counted, in_group
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.scales import Scale, around
from mkd_tf.reporting.strips import Strip, row, rows
from mkd_tf.reporting.subject import Ablation, Group
from mkd_tf.reporting.tables import DASH, Table, number

_SIGNS = {BETTER: ("▲", "good"), WORSE: ("▼", "bad"), NO_BETTER: ("=", "even")}
_METHOD = (
    "The interval is a hierarchical bootstrap over seeds, within the groups that share a teacher, and "
    "over test images; p is that of the paired t test, adjusted over the arms of a table by Holm (1979). "
    "'Gap closed' is the share of the way from the control's AP to that of the teacher, or of the arm "
    "with all labels."
)


def badge(verdict: str) -> Element:
    """Returns a verdict with its sign: it is read without its colour, too."""
    sign, style = _SIGNS.get(verdict, ("?", "open"))
    return node("span", node("span", sign, aria_hidden="true"), f" {verdict}", class_=f"badge {style}")


def make(report: Report) -> Section:
    """Returns the rule, and for each data set and network a forest of differences and their table."""
    if report.subject.ablation is None:
        return _one_run(report)
    ablation = report.ablation
    rule = (
        ablation.rule
        or "not known: the folder has no copy of the ablation's file that can be read; run mkd ablate again"
    )
    body: list[Element | Table] = [node("p", node("b", "Rule, written down before the run: "), f"{rule}.")]
    for group in ablation.groups:
        if not group.lines:
            body.append(node("p", f"{group.name}: no arm has a seed in common with its control yet."))
            continue
        body += [_forest(ablation, group), _table(ablation, group)]
    body.append(node("p", _METHOD, class_="note"))
    lead = (
        f"Differences in AP from the control, paired by seed. A bar is the {ablation.level} interval, its "
        "dot the mean; small dots are the seeds"
    )
    margin = ", and the shaded band is too small a difference to count." if ablation.experiment else "."
    return Section("Verdicts", lead + margin, body)


def _one_run(report: Report) -> Section:
    roles = {name: report.subject.role(name) for name in report.subject.stages}
    aps = {name: entry.get("AP") for name, entry in roles.items()}
    student, alone, teacher = (aps.get(name) for name in ("student", "student_alone", "teacher"))
    rows_of = []
    if student is not None and alone is not None:
        closed = (student - alone) / (teacher - alone) if teacher is not None and teacher > alone else None
        rows_of = [["student", "student_alone", *map(number, (student, alone))]]
        rows_of[0] += [number(student - alone, "+.1f"), number(closed, ".0%")]
    columns = ["network", "against", "AP", "its AP", "difference", "gap to teacher closed"]
    table = Table(
        "Test AP of the distilled student and of the same student alone", columns, rows_of, ["against"]
    )
    why = node(
        "p",
        "No verdict: one run has one seed, and a difference between two seeds of the same network may be as "
        "large. ",
        node("code", "mkd ablate"),
        " compares arms over several seeds and states intervals.",
    )
    alone_missing = node(
        "p", "Not measured: the student without a teacher. Train with ", node("code", "--baseline"), "."
    )
    return Section(
        "Verdict", "What distillation is worth in this run.", [table if rows_of else alone_missing, why]
    )


def _scale(group: Group, ablation: Ablation) -> Scale:
    values = [line[name] for line in group.lines for name in ("low", "high", "difference")]
    values += [d for line in group.lines for _, d in differences(group, line)]
    margin = ablation.experiment.rule.margin if ablation.experiment else 0.0
    return around([v for v in values if v is not None] + [0.0, margin, -margin], "difference in AP")


def differences(group: Group, line: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Returns seed and difference of an arm from its control."""
    control = {row["seed"]: row["AP"] for row in group.of(line["control"])}
    return [(r["seed"], r["AP"] - control[r["seed"]]) for r in group.of(line["arm"]) if r["seed"] in control]


def _forest(ablation: Ablation, group: Group) -> Element:
    scale = _scale(group, ablation)
    margin = ablation.experiment.rule.margin if ablation.experiment else 0.0
    items = []
    for line in group.lines:
        strip = Strip(scale)
        if margin:
            strip.band(-margin, margin)
        strip.rule(0)
        style = _SIGNS.get(line["verdict"], ("?", "open"))[1]
        found = differences(group, line)
        strip.dots([d for _, d in found], f"seed {style}", [f"seed {s}: {d:+.2f} AP" for s, d in found], y=16)
        known = line["low"] is not None
        if known:
            strip.interval(line["low"], line["high"], style)
        strip.dots([line["difference"]], f"mean {style}", y=10 if known else 6)
        between = f"{ablation.level} interval {interval(line, 'low', 'high')}" if known else "no interval"
        text = f"{line['arm']} minus {line['control']}: {line['difference']:+.2f} AP, {between}"
        drawing = strip.svg(f"{line['arm']}: {line['verdict']}", text)
        seeds = node("small", f"{counted(line['seeds'], 'seed')} against {line['control']}")
        value = [node("b", number(line["difference"], "+.2f")), node("small", interval(line, "low", "high"))]
        items.append(row([node("b", line["arm"]), seeds], drawing, value, badge(line["verdict"])))
    return rows(scale, items, in_group(ablation, group))


def interval(line: Mapping[str, Any], low: str, high: str) -> str:
    """Returns an interval in words, a dash where there is none."""
    return DASH if line[low] is None else f"{number(line[low], '+.2f')} to {number(line[high], '+.2f')}"


def _p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else number(value, ".3f")


def _table(ablation: Ablation, group: Group) -> Table:
    level = ablation.level
    columns = ["arm", "verdict", "difference", f"{level}, bootstrap", f"{level}, paired t", "p", "p (Holm)"]
    columns += ["gap closed, teacher", "gap closed, all labels", "AP", "control's AP"]
    columns += ["control", "seeds", "teachers"]
    texts = [
        [
            line["arm"],
            line["verdict"],
            number(line["difference"], "+.2f"),
            interval(line, "low", "high"),
            interval(line, "t_low", "t_high"),
            *(_p_value(line[n]) for n in ("p", "p_holm")),
            *(number(line[n], ".0%") for n in ("gap_to_teacher", "gap_to_ceiling")),
            *(number(line[n], ".2f") for n in ("AP", "control_AP")),
            line["control"],
            *(str(line[n]) for n in ("seeds", "teachers")),
        ]
        for line in group.lines
    ]
    caption = f"Arms against their controls on {group.name}: AP on the test split"
    return Table(caption, columns, texts, ["control", "verdict"], elsewhere=True)
