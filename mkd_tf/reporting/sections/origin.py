"""Origin: the commands, versions and options that a report's figures come from."""

from mkd_tf.reporting.base import Report, Section
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.subject import flags_of
from mkd_tf.reporting.tables import Table
from mkd_tf.training.workdir import FLAGS_FILE


def make(report: Report) -> Section:
    """Returns how the report and what it is about were made."""
    subject = report.subject
    facts = dict(report.facts)
    command = subject.results.get("command")
    if subject.ablation is None:
        facts |= {
            "trained with": command or "not known",
            "commit": subject.results.get("commit") or "not known",
        }
    body: list[Element | Table] = [_facts(facts), _options(report)]
    if subject.ablation is not None:
        arms = {row["arm"]: flags_of(subject.folder / row["path"]) for row in subject.ablation.groups[0].rows}
        differing = _differing(arms)
        if differing:
            body.append(differing)
    return Section("Origin", "Commands, versions and options behind the figures.", body)


def _facts(facts: dict[str, str]) -> Element:
    items = [[node("dt", name), node("dd", node("code", value))] for name, value in facts.items()]
    return node("dl", items, class_="facts")


def _options(report: Report) -> Element:
    path = report.subject.workdir / FLAGS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        return node("p", f"Options not shown: {FLAGS_FILE}: {reason}.", class_="missing")
    about = f" of {report.subject.about}" if report.subject.about else ""
    return node(
        "details",
        node("summary", f"All options{about} ({FLAGS_FILE})"),
        node("pre", text, class_="scroll", tabindex=0, role="region", aria_label=FLAGS_FILE),
    )


def _differing(arms: dict[str, dict[str, str]]) -> Table | None:
    """Returns the flags in which arms differ; None where they are not known."""
    own = ("seed", "workdir", "teacher_weights", "guide_weights")
    names = sorted({name for flags in arms.values() for name in flags if name not in own})
    varied = [n for n in names if len({flags.get(n, "default") for flags in arms.values()}) > 1]
    if not varied:
        return None
    rows = [[arm, *(flags.get(name, "default") for name in varied)] for arm, flags in arms.items()]
    return Table("Flags in which the arms differ", ["arm", *varied], rows, varied)
