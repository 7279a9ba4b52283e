"""The page: what a report says first, its sections, and the frame around them."""

from collections.abc import Mapping

from mkd_tf.experiments.statistics import BETTER, WORSE
from mkd_tf.reporting.base import NotMeasured, Report, Section
from mkd_tf.reporting.markup import Element, node, rendered
from mkd_tf.reporting.style import CSS
from mkd_tf.reporting.tables import Table, number

Made = Section | NotMeasured
_TITLES = {"precision_recall": "Precision and recall", "found": "Objects found"}


def title_of(name: str, made: Made) -> str:
    """Returns the title of a section, also of one that could not be made."""
    return made.title if isinstance(made, Section) else _TITLES.get(name, name.replace("_", " ").capitalize())


def page(report: Report, sections: Mapping[str, Made]) -> str:
    """Returns the whole document; it refers to nothing outside of itself."""
    name = report.subject.folder.resolve().name
    kind = "Ablation" if report.subject.ablation else "Training run"
    found = {n: made for n, made in sections.items() if isinstance(made, Section)}
    absent = {title_of(n, made): str(made) for n, made in sections.items() if n not in found}
    tiles = node("header", node("p", kind, class_="kind"), node("h1", name), _about(report), _tiles(report))
    made = f"Made with mkd_tf {report.facts.get('mkd_tf', '')}: {report.facts.get('report', '')}"
    return document(f"{name}: {kind.lower()}", tiles, found, made, absent)


def document(
    title: str, header: Element, sections: Mapping[str, Section], footer: str, absent: Mapping[str, str]
) -> str:
    """Returns a whole document, which refers to nothing outside of itself.

    Args:
      title: of the document.
      header: what it says first.
      sections: by the name of their anchor.
      footer: how it was made.
      absent: titles of sections that could not be made, with the reasons.
    """
    links = [node("li", node("a", made.title, href=f"#{n}")) for n, made in sections.items()]
    if absent:
        links.append(node("li", node("a", f"Not measured ({len(absent)})", href="#absent")))
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Neither a script nor anything from elsewhere runs, whatever a name in the data set is.
        node(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        node("link", rel="icon", href="data:,"),
        node("title", title),
        node("style", CSS),
    )
    body = node(
        "body",
        node("a", "Skip to the content", href="#content", class_="skip"),
        header,
        node("nav", node("ol", links), aria_label="Sections"),
        node("main", [_section(n, made) for n, made in sections.items()], _absent(absent), id="content"),
        node("footer", footer),
    )
    return f"<!DOCTYPE html>\n{rendered(node('html', head, body, lang='en'))}\n"


def _section(name: str, made: Section) -> Element:
    content = [part.html() if isinstance(part, Table) else part for part in made.body]
    return node("section", node("h2", made.title), node("p", made.lead, class_="lead"), content, id=name)


def _absent(reasons: Mapping[str, str]) -> Element | None:
    """Returns the sections that could not be made, with the reasons; those with the same one together."""
    if not reasons:
        return None
    titles: dict[str, list[str]] = {}
    for title, reason in reasons.items():
        titles.setdefault(reason, []).append(title)
    items = [[node("dt", ", ".join(names)), node("dd", f"{reason}")] for reason, names in titles.items()]
    return node("section", node("h2", "Not measured"), node("dl", items, class_="facts"), id="absent")


def _about(report: Report) -> Element:
    subject = report.subject
    if subject.ablation:
        groups = subject.ablation.groups
        cells = sum(len(group.rows) for group in groups)
        seeds = sorted({row["seed"] for group in groups for row in group.rows})
        names = "; ".join(group.name for group in groups)
        return node(
            "p",
            f"{cells} trained students with seeds {', '.join(map(str, seeds))} on {names}.",
            class_="about",
        )
    dataset = subject.results.get("dataset")
    if dataset is None:
        return node("p", "No training: only exported files.", class_="about")
    listed = ", ".join(dataset["classes"][:12])
    more = len(dataset["classes"]) - 12
    classes = f"{len(dataset['classes'])} classes: {listed}{f' and {more} more' if more > 0 else ''}"
    return node(
        "p", f"{dataset['name']}; {subject.results.get('image_size', 0)} px; {classes}.", class_="about"
    )


def tile(value: str, what: str, note: str = "", style: str | None = None) -> Element:
    """Returns a figure of the header, with what it is."""
    return node(
        "li", node("b", value, class_=style), node("span", what), node("small", note) if note else None
    )


def _tiles(report: Report) -> Element | None:
    tiles = _of_ablation(report) if report.subject.ablation else _of_run(report)
    return node("ul", tiles, class_="tiles") if tiles else None


def _of_ablation(report: Report) -> list[Element]:
    lines = [line for group in report.ablation.groups for line in group.lines]
    counts = {v: sum(line["verdict"] == v for line in lines) for v in (BETTER, WORSE)}
    others = len(lines) - sum(counts.values())
    tiles = [tile(str(len(lines)), "comparisons with a control")]
    tiles.append(tile(str(counts[BETTER]), "better than the control", "by the rule below", "good"))
    tiles.append(tile(str(counts[WORSE]), "worse than the control", "by the rule below", "bad"))
    tiles.append(tile(str(others), "no better, or more seeds needed"))
    if lines:
        best = max(lines, key=lambda line: line["difference"])
        gain = number(best["difference"], "+.2f")
        tiles.append(tile(gain, "AP, the largest mean difference", best["arm"]))
    return tiles


def _of_run(report: Report) -> list[Element]:
    roles = report.subject.results["roles"]
    aps = {name: role.get("AP") for name, role in roles.items()}
    tiles = []
    student, alone, teacher = (aps.get(name) for name in ("student", "student_alone", "teacher"))
    for name, what in (("student", "student, test AP"), ("student_alone", "the same student alone, test AP")):
        if name in roles:
            tiles.append(tile(number(aps[name]), what, f"AP50 {number(roles[name].get('AP50'))}"))
    if student is not None and alone is not None:
        style = "good" if student > alone else "bad"
        gain = number(student - alone, "+.1f")
        tiles.append(tile(gain, "AP by distillation", "one seed, no interval", style))
    if teacher is not None:
        tiles.append(
            tile(number(teacher), "teacher, test AP", f"AP50 {number(roles['teacher'].get('AP50'))}")
        )
    if {"student", "teacher"} <= roles.keys() and roles["student"].get("macs"):
        ratio = roles["teacher"]["macs"] / roles["student"]["macs"]
        tiles.append(tile(f"{ratio:.1f} x", "fewer multiply-adds than the teacher"))
    return tiles
