"""Tables, written once and shown in HTML, Markdown and LaTeX."""

import dataclasses
from collections.abc import Callable, Sequence

from mkd_tf.reporting.markup import Element, name_of, node

_LONG = 24
DASH, MINUS = "–", "−"
_LATEX = {c: f"\\{c}" for c in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    DASH: "--",
    "±": r"$\pm$",
    MINUS: "$-$",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row names it.

    Attributes:
      caption: what it shows, and of how many images.
      columns: titles.
      rows: as many texts each as there are columns.
      words: columns, beside the first, that hold words and not numbers.
      shade: returns for row and column how strongly a cell is shaded, 0 to 1.
      elsewhere: whether a file beside the report has it already.
      style: further classes in HTML.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()
    shade: Callable[[int, int], float] | None = None
    elsewhere: bool = False
    style: str = ""

    def _kind(self, column: int) -> str | None:
        return "word" if self.columns[column] in self.words else None

    def html(self) -> Element:
        """Returns the table in a box in which it scrolls where it is wider than the page."""
        head = [node("th", t, scope="col", class_=self._kind(i)) for i, t in enumerate(self.columns)]
        body = [
            node("tr", [self._cell(r, c, text) for c, text in enumerate(row)])
            for r, row in enumerate(self.rows)
        ]
        table = node(
            "table",
            # It stays in sight while the table scrolls.
            node("caption", node("span", self.caption)),
            node("thead", node("tr", head)),
            node("tbody", body),
            class_=self.style or None,
        )
        # A box that scrolls can be reached from the keyboard.
        return node("div", table, class_="scroll", tabindex=0, role="region", aria_label=self.caption)

    def _cell(self, row: int, column: int, text: str) -> Element:
        if column == 0:
            return node("th", name_of(text), scope="row", class_="long" if len(text) > _LONG else None)
        strength = round(self.shade(row, column), 2) if self.shade else 0.0
        style = f"--k:{strength}" if strength else None
        kind = f"{self._kind(column) or ''}{' shaded' if strength else ''}".strip()
        return node("td", text, class_=kind or None, style=style)

    def markdown(self) -> str:
        """Returns the table in Markdown."""
        rule = ["---" if i == 0 or self._kind(i) else "---:" for i in range(len(self.columns))]
        rows = [[_in_markdown(t) for t in row] for row in (self.columns, *self.rows)]
        rows.insert(1, rule)
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"**{_in_markdown(self.caption)}**\n\n{table}\n"

    def latex(self) -> str:
        """Returns the table in LaTeX, with what its kernel has."""
        rows = [" & ".join(map(in_latex, row)) + r" \\" for row in (self.columns, *self.rows)]
        align = "".join("l" if i == 0 or self._kind(i) else "r" for i in range(len(self.columns)))
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{in_latex(self.caption)}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\hline",
            rows[0],
            r"\hline",
            *rows[1:],
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def _in_markdown(text: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\|*`[]" else c for c in safe.replace("\n", " "))


def in_latex(text: str) -> str:
    """Returns text with the characters escaped that LaTeX reads as commands."""
    return "".join(_LATEX.get(c, c) for c in text)


def number(value: float | None, form: str = ".1f") -> str:
    """Returns a number as text, with a true minus; a dash for None."""
    if value is None:
        return DASH
    text = format(value, form)
    # What is rounded to zero has no sign.
    return text.replace("-", MINUS) if any(c in "123456789" for c in text) else text.lstrip("-")
