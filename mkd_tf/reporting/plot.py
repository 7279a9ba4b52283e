"""Line charts as inline SVG, in the width of a telephone's screen: a page has several beside each other.

Colours, dashes and widths are classes of the page's style (`style.py`), so that a chart
follows light and dark. Each series is told apart by its dashes as well as by its colour.
"""

import itertools
from collections.abc import Iterable, Sequence

from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.scales import Scale, written

WIDTH, HEIGHT = 340, 216
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 12, 20, 34
Points = Iterable[tuple[float, float]]
_numbers = itertools.count()


def _titled(svg: Element, title: str, description: str) -> Element:
    """Gives a drawing its name and its description, for readers who do not see it."""
    number = next(_numbers)
    names = node("title", title, id=f"t{number}"), node("desc", description, id=f"d{number}")
    for place, name in enumerate(names):
        svg.insert(place, name)
    svg.set("role", "img")
    svg.set("aria-labelledby", f"t{number} d{number}")
    return svg


def series(index: int) -> str:
    """Returns the class of a series' colour and dashes."""
    return f"s{index % 8}"


def path_of(places: Sequence[tuple[float, float]]) -> str:
    """Returns places in px as the `d` of a path; those in the middle of a straight level are left out."""
    kept = [
        p
        for i, p in enumerate(places)
        if i in (0, len(places) - 1) or not places[i - 1][1] == p[1] == places[i + 1][1]
    ]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in kept)


class Panel:
    """One chart with two axes; later marks lie on top of earlier ones."""

    def __init__(self, x: Scale, y: Scale):
        self.x, self.y = x, y
        self._marks: list[Element] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Returns the place of a point in px."""
        wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return _LEFT + wide * self.x.place(x), HEIGHT - _BOTTOM - high * self.y.place(y)

    def line(self, points: Points, style: str, title: str = "") -> None:
        """Draws a line through `points`; `title` is shown where the pointer rests on it."""
        places = [self.at(x, y) for x, y in points]
        if len(places) == 1:
            self._mark(places[0], f"dot {style}", title)
        elif places:
            shown = node("title", title) if title else None
            self._marks.append(node("path", shown, d=path_of(places), class_=f"line {style}"))

    def dots(self, points: Points, style: str, titles: Iterable[str] = ()) -> None:
        """Draws a dot at each of `points`, with what is shown where the pointer rests on it."""
        for point, title in itertools.zip_longest(points, titles, fillvalue=""):
            self._mark(self.at(*point), f"dot {style}", str(title))

    def _mark(self, place: tuple[float, float], style: str, title: str) -> None:
        x, y = place
        shown = node("title", title) if title else None
        self._marks.append(node("circle", shown, cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=style))

    def bar(self, left: float, right: float, low: float, high: float, style: str, title: str = "") -> None:
        """Draws a rectangle between values of both axes."""
        x, bottom = self.at(left, low)
        end, y = self.at(right, high)
        shown = node("title", title) if title else None
        size = {"x": x, "y": y, "width": max(end - x - 1, 0), "height": max(bottom - y, 0)}
        places = {name: f"{value:.1f}" for name, value in size.items()}
        self._marks.append(node("rect", shown, class_=style, **places))

    def interval(self, x: float, low: float, high: float, style: str) -> None:
        """Draws a vertical line from `low` to `high` with ends."""
        (place, bottom), (_, top) = self.at(x, low), self.at(x, high)
        ends = "".join(f"M{place - 3:.1f} {y:.1f}h6" for y in (bottom, top))
        d = f"M{place:.1f} {bottom:.1f}V{top:.1f}{ends}"
        self._marks.append(node("path", d=d, class_=f"whisker {style}"))

    def label(self, x: float, y: float, text: str, style: str = "") -> None:
        """Writes `text` above a point, or below one that lies at the top; it stays inside the chart."""
        left, top = self.at(x, y)
        place = min(max(left, _LEFT + 3 * len(text)), WIDTH - 3 * len(text))
        height = top - 8 if top > _TOP + 14 else top + 16
        self._marks.append(node("text", text, x=f"{place:.1f}", y=f"{height:.1f}", class_=f"tag {style}"))

    def _axes(self) -> list[Element]:
        found = []
        for value in self.y.ticks(5):
            _, y = self.at(self.x.low, value)
            found.append(node("path", d=f"M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}", class_="grid"))
            found.append(node("text", written(value), x=_LEFT - 6, y=f"{y + 3.5:.1f}", class_="tick end"))
        for value in self.x.ticks():
            x, _ = self.at(value, self.y.low)
            found.append(
                node("text", written(value), x=f"{x:.1f}", y=HEIGHT - _BOTTOM + 14, class_="tick mid")
            )
        base = f"M{_LEFT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"
        found.append(node("path", d=base, class_="axis"))
        found.append(node("text", self.y.label, x=4, y=11, class_="label"))
        found.append(node("text", self.x.label, x=WIDTH - _RIGHT, y=HEIGHT - 4, class_="label end"))
        return found

    def svg(self, title: str, description: str) -> Element:
        """Returns the chart."""
        view = {"viewBox": f"0 0 {WIDTH} {HEIGHT}"}
        return _titled(node("svg", self._axes(), self._marks, class_="chart", **view), title, description)


def figure(title: str, note: str, svg: Element) -> Element:
    """Returns a chart under its title; `note` says what it was computed from."""
    return node("figure", node("figcaption", node("b", title), " ", node("span", note)), svg, class_="panel")


def panels(figures: Sequence[Element]) -> Element:
    """Returns charts beside each other, as many as there is room for."""
    return node("div", figures, class_="panels")


def legend(names: Iterable[tuple[str, str]], notes: Iterable[str] = ()) -> Element:
    """Returns what each series is: names with their classes; `notes` follow."""
    items = []
    for name, style in names:
        sample = node("path", d="M1 6H27", class_=f"line {style}")
        swatch = node("svg", sample, viewBox="0 0 28 12", class_="swatch", aria_hidden="true")
        items.append(node("li", swatch, name))
    return node("ul", items, [node("li", note, class_="note") for note in notes], class_="legend")


def stretched(marks: Sequence[Element], title: str, description: str, style: str = "strip") -> Element:
    """Returns a drawing 100 units wide and 20 high that is stretched to the width there is."""
    view = {"viewBox": "0 0 100 20", "preserveAspectRatio": "none"}
    return _titled(node("svg", marks, class_=style, **view), title, description)
