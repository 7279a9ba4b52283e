"""Text in images, in whatever script a class name is written.

Pillow's own font has Latin letters. Other letters come from the fonts of the extra `fonts`
(Noto Sans and Noto Sans CJK), of matplotlib, or of the system; a name that no font has is
drawn as the number of its class, with a warning.
"""

import functools
import importlib.util
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageDraw, ImageFont

_LOGGER = logging.getLogger(__name__)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_OWN = "Pillow's own font"
# Fonts of Linux, Windows and macOS with many letters; Pillow looks them up by name.
_OF_SYSTEMS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("wqy-microhei.ttc", 0),
    ("msyh.ttc", 0),
    ("malgun.ttf", 0),
    ("PingFang.ttc", 0),
    ("Arial Unicode.ttf", 0),
    ("DejaVuSans.ttf", 0),
    ("arial.ttf", 0),
)
_SIMPLIFIED = 2  # the face of Noto Sans CJK with the forms of mainland China
_REGULAR = 400  # weight of a variable font
_PROBE_PX = 24


class Lettering:
    """Letters of one size, from several fonts.

    Args:
      size_px: of the letters.

    Example:
      >>> letters = Lettering(20)
      >>> letters.width("cat") > letters.width("at")
      True
    """

    def __init__(self, size_px: int):
        self._size = size_px
        # Of a capital and a tail, whatever the text: all tags of Latin letters are equally high.
        own = _font(_OWN, 0, size_px)
        self._ascent = own.getmetrics()[0] if isinstance(own, ImageFont.FreeTypeFont) else 0
        box = own.getbbox("Ag")
        self.top: float = box[1]
        self.bottom: float = box[3]

    def width(self, text: str) -> float:
        """Returns the width of a text in pixels."""
        return sum(font.getlength(part) for part, font in self._runs(text))

    def extent(self, text: str) -> tuple[float, float]:
        """Returns the highest and the lowest row of a text that is drawn at row 0, in pixels."""
        boxes = [font.getbbox(part, anchor="ls") for part, font in self._runs(text) if not self._is_own(font)]
        tops, bottoms = [box[1] + self._ascent for box in boxes], [box[3] + self._ascent for box in boxes]
        return min([self.top, *tops]), max([self.bottom, *bottoms])

    def write(
        self, draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: tuple[int, int, int]
    ) -> None:
        """Draws a text whose upper left corner is `place` (x, y)."""
        x, y = place
        for part, font in self._runs(text):
            if self._is_own(font):
                draw.text((x, y), part, fill=color, font=font)
            else:
                draw.text((x, y + self._ascent), part, fill=color, font=font, anchor="ls")
            x += font.getlength(part)

    def _is_own(self, font: _Font) -> bool:
        return font is _font(_OWN, 0, self._size)

    def _runs(self, text: str) -> Iterator[tuple[str, _Font]]:
        """Yields a text, or where no font has all of its letters the parts that one font has each.

        Letters that no font has are drawn by the first.
        """
        if face := _face_of_all(text):
            yield text, _font(*face, self._size)
            return
        runs: list[tuple[str, tuple[str, int]]] = []
        for letter in text:
            stays = bool(runs) and _belongs_to_the_last(letter)
            face = runs[-1][1] if stays else _face_of(letter) or (_OWN, 0)
            if runs and runs[-1][1] == face:
                runs[-1] = (runs[-1][0] + letter, face)
            else:
                # Space at the end of letters that run to the left would be drawn before them.
                before = runs[-1][0].rstrip(" ") if runs else ""
                spaces = runs[-1][0][len(before) :] if runs else ""
                runs[-1:] = [(before, runs[-1][1])] if runs else []
                runs.append((spaces + letter, face))
        for part, face in runs:
            yield part, _font(*face, self._size)


def shown_name(name: str, label: int) -> str:
    """Returns a class name as drawings show it: `class 3` if no font has its letters, with one warning."""
    if all(_belongs_to_the_last(letter) or _face_of(letter) for letter in name):
        return name
    _warn(name, label)
    return f"class {label}"


@functools.cache
def _warn(name: str, label: int) -> None:
    _LOGGER.warning(
        "drawings: expected a font with the letters of class %r, got none: it is drawn as 'class %d'. "
        "Install fonts with pip install 'mkd_tf[fonts]'.",
        name,
        label,
    )


def _belongs_to_the_last(letter: str) -> bool:
    """Returns whether a character is a mark, a joiner or space, which stays with the letters before it."""
    return letter == " " or unicodedata.category(letter) in ("Mn", "Me", "Mc", "Cf")


@functools.lru_cache(maxsize=4096)
def _face_of_all(text: str) -> tuple[str, int] | None:
    """Returns the first font that has all letters of a text."""
    letters = {letter for letter in text if not _belongs_to_the_last(letter)}
    return next((face for face in _faces() if all(_has(face, letter) for letter in letters)), None)


@functools.cache
def _face_of(letter: str) -> tuple[str, int] | None:
    """Returns the file and face of the first font that has a letter."""
    return next((face for face in _faces() if _has(face, letter)), None)


@functools.cache
def _faces() -> tuple[tuple[str, int], ...]:
    """Returns file and face of the fonts that there are, the preferred ones first."""
    found = [(_OWN, 0)]
    noto = sorted(
        _package("manimgx_fonts").glob("NotoSans*.ttf"), key=lambda path: (len(path.name), path.name)
    )
    found += [(str(path), 0) for path in noto if "Italic" not in path.name]
    found += [(str(path), _SIMPLIFIED) for path in sorted(_package("manimgx_fonts_cjk").glob("*.ttc"))]
    found += [(str(path), 0) for path in sorted(_package("manimgx_fonts").glob("NotoEmoji*.ttf"))]
    found += [(str(path), 0) for path in _package("matplotlib").glob("mpl-data/fonts/ttf/DejaVuSans.ttf")]
    return (*found, *_OF_SYSTEMS)


def _package(name: str) -> Path:
    """Returns the folder of an installed package, without importing it; one that is not there if none is."""
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        spec = None
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else Path(__file__).parent / "no fonts"


@functools.cache
def _has(face: tuple[str, int], letter: str) -> bool:
    try:
        font = _font(*face, _PROBE_PX)
        glyph, missing = (bytes(font.getmask(text)) for text in (letter, "\U0010ffff"))
        return glyph != missing
    except OSError:  # no such font on this system
        return False


@functools.cache
def _font(file: str, face: int, size_px: int) -> _Font:
    if file == _OWN:
        return ImageFont.load_default(size_px)
    font = ImageFont.truetype(file, size_px, index=face)
    try:
        axes = font.get_variation_axes()
    except OSError:  # not a variable font
        return font
    is_weight = [axis["name"] in (b"Weight", "Weight") for axis in axes]
    values = [float(_REGULAR if w else axis["default"] or 0) for w, axis in zip(is_weight, axes, strict=True)]
    font.set_variation_by_axes(values)
    return font
