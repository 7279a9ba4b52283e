"""Rows of a name, a drawing that stretches with the page, and figures: forests and strips of dots.

Texts are HTML beside the drawing, so that they keep their size where the drawing is narrow.
"""

from collections.abc import Iterable, Sequence

from mkd_tf.reporting.markup import Child, Element, node
from mkd_tf.reporting.plot import stretched
from mkd_tf.reporting.scales import Scale, written


class Strip:
    """The drawing of one row, on a scale that all rows share."""

    def __init__(self, scale: Scale):
        self._scale = scale
        self._marks: list[Element] = []

    def _x(self, value: float) -> str:
        return f"{100 * self._scale.place(value):.2f}"

    def band(self, low: float, high: float) -> "Strip":
        """Shades a range of values."""
        left, right = self._x(low), self._x(high)
        width = f"{float(right) - float(left):.2f}"
        self._marks.append(node("rect", x=left, y=0, width=width, height=20, class_="band"))
        return self

    def rule(self, value: float) -> "Strip":
        """Draws a line across the row."""
        self._marks.append(node("path", d=f"M{self._x(value)} 0V20", class_="zero"))
        return self

    def interval(self, low: float, high: float, style: str) -> "Strip":
        """Draws a line from `low` to `high`."""
        self._marks.append(node("path", d=f"M{self._x(low)} 10H{self._x(high)}", class_=f"span {style}"))
        return self

    def mark(self, value: float, style: str) -> "Strip":
        """Draws an upright mark."""
        self._marks.append(node("path", d=f"M{self._x(value)} 3V17", class_=style))
        return self

    def dots(self, values: Iterable[float], style: str, titles: Sequence[str] = (), y: float = 10) -> "Strip":
        """Draws a dot at each of `values`."""
        for place, value in enumerate(values):
            shown = node("title", titles[place]) if titles else None
            # A line without length has round ends, which stay round where the drawing is stretched.
            self._marks.append(node("path", shown, d=f"M{self._x(value)} {y:g}h0.001", class_=style))
        return self

    def svg(self, title: str, description: str) -> Element:
        """Returns the drawing."""
        return stretched(self._marks, title, description)


def row(name: Child, drawing: Element, value: Child, note: Child = None) -> Element:
    """Returns a row."""
    parts = zip(("name", "draw", "value", "note"), (name, drawing, value, note), strict=True)
    return node("li", [node("div", part, class_=kind) for kind, part in parts])


def rows(scale: Scale, items: Sequence[Element], title: str) -> Element:
    """Returns rows above the axis that they share."""
    ticks = [
        node("span", written(round(t, 6)), style=f"left:{100 * scale.place(t):.2f}%") for t in scale.ticks(6)
    ]
    axis = node("div", ticks, class_="ticks", aria_hidden="true")
    end = row(node("span", scale.label, class_="label"), axis, None)
    end.set("class", "axis-row")
    return node("div", node("h4", title) if title else None, node("ul", items, end, class_="strips"))
