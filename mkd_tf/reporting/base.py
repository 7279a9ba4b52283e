"""What every section of a report gets and gives."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from mkd_tf.checks import MkdError
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.measured import Measured, Network
from mkd_tf.reporting.plot import legend, panels, series
from mkd_tf.reporting.subject import Ablation, Group, Subject
from mkd_tf.reporting.tables import Table

_ROLES = ("student", "teacher", "guide", "student_alone")
MOST_CURVES = 6
MOST_CLASSES = 12
OPEN_CHARTS = 6


class NotMeasured(MkdError):
    """A section cannot be made; the message is the reason that the page shows in its place."""


def unexpected(error: Exception) -> NotMeasured:
    """Returns the reason that the page shows for an error that nothing foresaw."""
    return NotMeasured(f"{type(error).__name__}: {error}")


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
      title: a few words.
      lead: what is shown and how to read it, in one or two sentences.
      body: what is shown, in order; tables also go to the files beside the page.
    """

    title: str
    lead: str
    body: Sequence[Element | Table]


@dataclasses.dataclass(frozen=True)
class Report:
    """What sections are made from.

    Attributes:
      subject: the run or ablation.
      run_networks: runs the networks; raises `MkdError` where that cannot be done.
      chosen: the networks to draw; empty for a choice.
      facts: how the report was made, by name.
    """

    subject: Subject
    run_networks: Callable[[Mapping[str, str]], Measured]
    chosen: tuple[str, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def ablation(self) -> Ablation:
        """The ablation of the report; raises `NotMeasured` for a run."""
        if self.subject.ablation is None:
            raise NotMeasured("one run has one seed; mkd ablate compares arms over several")
        return self.subject.ablation

    @functools.cached_property
    def drawn(self) -> list[str]:
        """The networks of curves and images: those chosen, or as many as are told apart.

        Of an ablation: the teacher, the control and the arms furthest from it.
        """
        names, ablation = list(self.subject.stages), self.subject.ablation
        if self.chosen or ablation is None:
            return list(self.chosen) or names[:MOST_CURVES]
        lines = ablation.groups[0].lines
        distance = {line["arm"]: abs(line["difference"]) for line in lines}
        controls = {line["control"] for line in lines}
        if ablation.experiment:
            controls |= {ablation.experiment.control}
        first = [n for n in names if self._is_teacher(n)]
        first += [n for n in names if n in controls and n not in first]
        compared = sorted((n for n in names if n in distance and n not in first), key=lambda n: -distance[n])
        # Of an ablation that goes on, most arms may not be compared yet.
        others = [n for n in names if n not in first and n not in distance]
        kept = [*first, *compared[: max(4 - len(first), 1)], *others][:MOST_CURVES]
        return [name for name in names if name in kept]

    def _is_teacher(self, name: str) -> bool:
        """Returns whether a network is the teacher: an arm of an ablation may have that name, too."""
        return name in self.subject.stages and self.subject.stages[name].name == "teacher"

    @functools.cached_property
    def _measured(self) -> Measured | MkdError:
        if not self.drawn:
            return NotMeasured("there is no trained network")
        try:
            return self.run_networks({name: str(self.subject.stages[name]) for name in self.drawn})
        except MkdError as error:
            return error
        except Exception as error:  # Kept, so that no section runs the networks again.
            return unexpected(error)

    def measured(self) -> Measured:
        """Returns what the networks detect; they are run once. Raises `NotMeasured` where they cannot be."""
        if isinstance(self._measured, MkdError):
            raise NotMeasured(str(self._measured))
        return self._measured

    def style(self, name: str) -> str:
        """Returns the class of a network's colour and dashes: the same all over the page."""
        is_run = self.subject.ablation is None
        if self._is_teacher(name) or (is_run and name in _ROLES):
            return series(_ROLES.index(name if is_run else "teacher"))
        others = [n for n in self.subject.stages if not self._is_teacher(n) and not (is_run and n in _ROLES)]
        # Of an ablation the first arm is the control, which has the colour of a student alone.
        place = others.index(name) if name in others else len(others)
        if is_run:
            return series(4 + place)
        return series((3, 0, 2, 4, 5, 6, 7)[place % 7])

    def legend(self, networks: Sequence[str], *notes: str) -> Element:
        """Returns a legend of networks."""
        return legend([(name, self.style(name)) for name in networks], notes)


def networks_of(report: Report) -> tuple[Measured, dict[str, Network], str]:
    """Returns what was measured, its networks, and how many images of what it is from, in words."""
    measured = report.measured()
    about = report.subject.about
    return measured, dict(measured.networks), f"{measured.counted}{f'; {about}' if about else ''}"


def left_out(measured: Measured) -> list[str]:
    """Returns why networks are not drawn, one sentence each."""
    return [f"{name} not measured: {reason}" for name, reason in measured.missing.items()]


def shown_classes(measured: Measured) -> tuple[list[int], str]:
    """Returns the classes that have a chart of their own, and a note where that is not all of them."""
    found = measured.classes_by_size
    if len(found) <= MOST_CLASSES:
        return found, ""
    return found[:MOST_CLASSES], f"The {MOST_CLASSES} of {len(found)} classes with the most objects."


def points_of(networks: Mapping[str, Network]) -> str:
    """Returns the operating points of networks in words, those that were chosen alike together."""
    words: dict[str, list[str]] = {}
    for name, network in networks.items():
        words.setdefault(network.point, []).append(f"{name} {network.threshold:.2f}")
    return "; ".join(f"{', '.join(points)} ({point})" for point, points in words.items())


def by_class(charts: Sequence[Element]) -> list[Element]:
    """Returns the charts of classes: the first ones open, the others behind a line to open."""
    shown, more = charts[:OPEN_CHARTS], charts[OPEN_CHARTS:]
    found = [panels(shown)]
    if more:
        found.append(node("details", node("summary", f"{counted(len(more), 'more class')}"), panels(more)))
    return found


def charts_by_class(
    report: Report, chart: Callable[[Report, str, dict[str, Network], int | None, str], Element]
) -> tuple[dict[str, Network], list[Element], list[Element]]:
    """Returns the networks, their charts with a legend, and notes on what is left out.

    Args:
      report: of measured networks.
      chart: draws one class, or None for all of them together, from the report, a title, the
        networks, the class and the number of images in words.
    """
    measured, networks, images = networks_of(report)
    classes, note = shown_classes(measured)
    charts = [chart(report, "all classes together", networks, None, images)]
    charts += [chart(report, measured.class_names[c], networks, c, images) for c in classes]
    missing = [node("p", text, class_="missing") for text in [*left_out(measured), note] if text]
    return networks, [report.legend(list(networks), "dot: operating point"), *by_class(charts)], missing


def counted(count: int, what: str) -> str:
    """Returns a count in words: `1 object`, `3 objects`."""
    plural = "es" if what.endswith(("s", "x")) else "s"
    return f"{count:,} {what}{'' if count == 1 else plural}"


def in_group(ablation: Ablation, group: Group) -> str:
    """Returns the name of a group where there are several."""
    return group.name if len(ablation.groups) > 1 else ""
