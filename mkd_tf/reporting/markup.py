"""HTML and SVG as trees of elements: text and attributes are escaped when the tree is written.

No string of markup is ever put together, so that a class called `<script>` is a name
like any other.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from typing import Any, TypeAlias

Element: TypeAlias = ElementTree.Element
Child: TypeAlias = "str | Element | None | Iterable[Child]"


def node(tag: str, *children: Child, **attributes: Any) -> Element:
    """Returns an element.

    Args:
      tag: of HTML or SVG.
      *children: texts and elements, nested in any way; None is left out.
      **attributes: `class_` is `class`, and `stroke_width` is `stroke-width`; None is left out.

    Example:
      >>> from mkd_tf.reporting.markup import node, rendered
      >>> rendered(node("p", "class ", node("b", "<script>"), class_="note"))
      '<p class="note">class <b>&lt;script&gt;</b></p>'
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    element = Element(tag, {name: str(value) for name, value in given.items() if value is not None})
    _append(element, children)
    return element


def _append(element: Element, children: Iterable[Child]) -> None:
    for child in children:
        if isinstance(child, str):
            if len(element):
                element[-1].tail = (element[-1].tail or "") + child
            else:
                element.text = (element.text or "") + child
        elif isinstance(child, ElementTree.Element):
            element.append(child)
        elif child is not None:
            _append(element, child)


def name_of(text: str) -> list[Child]:
    """Returns a name that may be broken behind `_`, `=` and `/`, as names of flags and files are."""
    parts = re.split(r"(?<=[_=/])", text)
    return [child for part in parts[:-1] for child in (part, node("wbr"))] + [parts[-1]]


def rendered(element: Element) -> str:
    """Returns an element as HTML."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def text_of(element: Element) -> str:
    """Returns the text in an element and below it."""
    return "".join(element.itertext())
