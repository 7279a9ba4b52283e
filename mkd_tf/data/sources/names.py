"""Class names: one spelling for what looks the same, on one line.

Two files that show the same word may hold different characters: composed or decomposed letters,
no-break spaces, line breaks of a formatter, characters without width, entities of HTML. Every
reader takes its class names through `class_name`, so that a name is the same in every format and fits into
the label files of exports.
"""

import html
import re
import unicodedata
from collections.abc import Iterable

from mkd_tf.data.sources.notices import BadExample, Notices

# Without width, and without meaning in any script. The joiners U+200C and U+200D are letters of
# Persian, of Indian scripts and of emoji: they stay between characters beyond ASCII.
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u180e\u200b\u200e\u200f\u2060\ufeff"))
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_STRAY_JOINERS = re.compile("(?<![^\\x00-\\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\\x00-\\x7f])")


def one_line(text: str) -> str:
    """Returns a text in Unicode NFC, white space collapsed to single spaces, invisible characters removed.

    Example:
      >>> one_line(" traffic\\u00a0\\n  light\\u200b ")
      'traffic light'
    """
    shown = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    shown = "".join(c for c in shown if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    shown = _STRAY_JOINERS.sub("", " ".join(shown.split()))
    return unicodedata.normalize("NFC", " ".join(shown.split()))


def class_name(text: object, where: str, notices: Notices | None = None) -> str:
    """Returns the class that a file names, as `one_line`, entities as `&amp;` as their characters.

    Args:
      text: as written.
      where: the file, for the notice.
      notices: hears of a name that is read otherwise than it is written, except for space at its ends.

    Raises:
      BadExample: if it is no text, or nothing visible is in it.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise BadExample(f"its class name is {text!r:.40}, not text")
    plain = text
    while (found := _ENTITY.sub(lambda entity: html.unescape(entity[0]), plain)) != plain:
        plain = found  # of a file that was escaped twice
    name = one_line(plain)
    if not name:
        raise BadExample("no class name" if not text else f"its class name {text!r:.40} shows nothing")
    if notices is not None and name != text.strip(" \t\r\n"):
        notices.add("changed", "classes", f"{text.strip()!r:.60} is read as {name!r:.60}", where)
    return name


def warn_of_alike(names: Iterable[str], where: str, notices: Notices) -> None:
    """Adds a notice for classes that differ only by case or by look-alike forms (width, ligatures)."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(key, []).append(name)
    for group in groups.values():
        if len(group) > 1:
            shown = " and ".join(map(repr, sorted(group)))
            notices.add("suspect", where, f"classes {shown} differ by case, width or space alone")
