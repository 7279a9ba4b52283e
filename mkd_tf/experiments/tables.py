"""The summary of an ablation for people: in CSV, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.experiments.records import write_csv
from mkd_tf.experiments.spec import Experiment, Rule
from mkd_tf.experiments.summary import COLUMNS
from mkd_tf.files import write_bytes


def _number(value: float | None, form: str = "+.2f") -> str:
    return "–" if value is None else format(value, form)


def _interval(line: Mapping[str, Any], low: str, high: str) -> str:
    return "–" if line[low] is None else f"{line[low]:+.2f} to {line[high]:+.2f}"


def _titles(rule: Rule) -> list[str]:
    level = f"{100 * rule.level:g} %"
    start = ["arm", "control", "seeds", "AP", "difference"]
    end = ["p (Holm)", "to teacher", "to ceiling", "verdict"]
    return [*start, f"{level} interval", f"{level} by paired t", *end]


def _texts(line: Mapping[str, Any]) -> list[str]:
    return [
        line["arm"],
        line["control"],
        str(line["seeds"]),
        _number(line["AP"], ".2f"),
        _number(line["difference"]),
        _interval(line, "low", "high"),
        _interval(line, "t_low", "t_high"),
        _number(line["p_holm"], ".3f"),
        _number(line["gap_to_teacher"], ".0%"),
        _number(line["gap_to_ceiling"], ".0%"),
        line["verdict"],
    ]


def _notes(experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    rule = experiment.rule
    notes = [
        f"Rule, written down before the run: {rule}.",
        "Differences are in AP on the test split, paired by seed. The interval is a bootstrap over seeds and "
        f"images ({rule.draws} draws); p is that of the paired t test, adjusted over the arms of a table.",
        "'to teacher' and 'to ceiling' are shares of the way from the control's AP to theirs.",
    ]
    if any(line["seeds"] < rule.least_seeds for line in lines):
        notes.append(
            f"With fewer than {rule.least_seeds} seeds there is no interval over seeds, and none is given."
        )
    if any(line["teachers"] == 1 < line["seeds"] for line in lines):
        notes.append("Where all seeds have one teacher, an interval holds for this teacher only.")
    return notes


def as_markdown(experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns the tables in Markdown."""
    parts = ["\n".join(_notes(experiment, lines))]
    for key in dict.fromkeys((line["dataset"], line["network"]) for line in lines):
        mine = [line for line in lines if (line["dataset"], line["network"]) == key]
        titles = _titles(experiment.rule)
        rows = [titles, ["---"] * 2 + ["---:"] * (len(titles) - 3) + ["---"], *map(_texts, mine)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"## {key[0]}, {key[1]}\n\n{table}")
    return "# Arms against their controls\n\n" + "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    made = "".join(f"\\{c}" if c in "_%&#${}" else c for c in text.replace("\\", "/"))
    return made.replace("–", "--")


def as_latex(experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns the tables in LaTeX, with what its kernel has."""
    parts = [f"% {note}" for note in _notes(experiment, lines)]
    for key in dict.fromkeys((line["dataset"], line["network"]) for line in lines):
        mine = [line for line in lines if (line["dataset"], line["network"]) == key]
        titles = _titles(experiment.rule)
        rows = [" & ".join(map(_escaped, row)) + r" \\" for row in (titles, *map(_texts, mine))]
        columns = "ll" + "r" * (len(titles) - 3) + "l"
        caption = rf"\caption{{{_escaped(key[0])}, {_escaped(key[1])}}}"
        inside = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", rows[0], r"\hline", *rows[1:], r"\hline"]
        parts += [r"\begin{table}", r"\centering", caption, *inside, r"\end{tabular}", r"\end{table}"]
    return "\n".join(parts) + "\n"


def write_summary(root: Path, experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes `summary.csv`, `summary.md` and `summary.tex`."""
    write_csv(root / "summary.csv", COLUMNS, lines)
    write_bytes(root / "summary.md", as_markdown(experiment, lines).encode("utf-8"))
    write_bytes(root / "summary.tex", as_latex(experiment, lines).encode("utf-8"))
