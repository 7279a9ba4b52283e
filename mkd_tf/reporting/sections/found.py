"""Objects found: how many each network finds, and what a student finds and its teacher misses."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from mkd_tf.reporting.base import NotMeasured, Report, Section
from mkd_tf.reporting.sections.teacher_gate import tables as tables_of
from mkd_tf.reporting.subject import Group
from mkd_tf.reporting.tables import DASH, Table, number

_SHARES = ("objects", "both", "student_only", "teacher_only", "neither")
_TITLES = ("objects", "both", "network only", "teacher only", "neither")


def make(report: Report) -> Section:
    """Returns what networks find at equal numbers of detections, and beyond the teacher."""
    tables = [
        table for table in (_equal_counts(report), *_beyond(report), *tables_of(report)) if table is not None
    ]
    if not tables:
        raise NotMeasured("results.json has no objects by who finds them, and no network could be run")
    lead = (
        "An object is found when a detection of its class overlaps it with an IoU of at least 0.5. Networks "
        "are compared each at its own operating point, at equal numbers of detections or at equal precision, "
        "never at a common score."
    )
    return Section("Objects found", lead, tables)


def _equal_counts(report: Report) -> Table | None:
    try:
        measured = report.measured()
    except NotMeasured:
        return None
    shown = {name: n.judged.at(n.threshold)[1] for name, n in measured.networks.items()}
    # The student's number where there is one: that of the network the report is about.
    which = "student" if "student" in shown else list(shown)[-1]
    count = shown[which]
    rows = []
    for name, network in measured.networks.items():
        right, own, objects = network.judged.at(network.threshold)
        equal = int(network.judged.right[:count].sum())
        shares = [f"{value / objects:.0%}" if objects else DASH for value in (right, equal)]
        rows.append([name, f"{right:,}", shares[0], f"{own:,}", f"{equal:,}", shares[1]])
    columns = [
        "network",
        "found",
        "share",
        "by detections",
        f"found by its best {count:,}",
        "share of objects",
    ]
    objects = int(next(iter(measured.networks.values())).judged.objects.sum())
    caption = (
        f"Found at its own operating point, and by as many detections as {which} shows: {objects:,} objects "
        f"in {measured.counted}{f'; {report.subject.about}' if report.subject.about else ''}"
    )
    return Table(caption, columns, rows)


def _beyond(report: Report) -> Iterator[Table]:
    if report.subject.ablation is not None:
        yield from (table for g in report.ablation.groups if (table := _mean(g)) is not None)
        return
    rows = []
    for name in report.subject.stages:
        found = report.subject.role(name).get("beyond_teacher")
        if found:
            # Files of earlier versions have one score for both networks.
            common = f"score {found['score']:.2f} of both"
            own = "own operating points" if "teacher_score" in found else common
            rows.append(_row(name, own, found))
            for key, words in (("equal_count", "equal counts"), ("equal_precision", "equal precision")):
                if found.get(key):
                    rows.append(_row(name, words, found[key]))
    if rows:
        columns = ["network", "compared at", *_TITLES]
        yield Table("Objects of the test split by who finds them", columns, rows, ["compared at"])


def _row(name: str, words: str, found: Mapping[str, Any]) -> list[str]:
    return [name, words, *(f"{found[key]:,}" if key in found else DASH for key in _SHARES)]


def _mean(group: Group) -> Table | None:
    rows = []
    for arm in group.arms:
        known = [r for r in group.of(arm) if all(r[key] is not None for key in _SHARES)]
        if known:
            means = [number(statistics.fmean(r[key] for r in known), ",.1f") for key in _SHARES]
            rows.append([arm, str(len(known)), *means])
    caption = f"Objects of the test split by who finds them on {group.name}: mean over seeds"
    return Table(caption, ["arm", "seeds", *_TITLES], rows) if rows else None
