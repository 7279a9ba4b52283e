"""Images with detections drawn into them.

Small images are enlarged, and lines and letters grow with the image, so that a
thumbnail and a photograph read alike.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.lettering import Lettering, shown_name
from mkd_tf.options import DEFAULT_SCORE

MIN_LONG_SIDE_PX = 640
# Colour-blind readers can tell them apart: Okabe and Ito, "Color Universal Design", 2008,
# without black, the brightest first. Further classes share colours; tags tell them apart.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
_DARK, _LIGHT = (17, 17, 17), (255, 255, 255)
Rectangle = tuple[float, float, float, float]


def class_color(label: int) -> tuple[int, int, int]:
    """Returns the RGB colour of a class."""
    return PALETTE[label % len(PALETTE)]


def _ink(background: tuple[int, int, int]) -> tuple[int, int, int]:
    # Luminance of Rec. 601; bright colours want dark letters.
    red, green, blue = background
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _LIGHT


def _scaled(image: np.ndarray, factor: float) -> Image.Image:
    drawn = Image.fromarray(image)
    size = (max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor)))
    return drawn.resize(size, Image.Resampling.LANCZOS)


def _overlap(a: Rectangle, b: Rectangle) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


class _Canvas:
    """An image, its scale of lines and letters, and the places of its tags. Boxes are x0 y0 x1 y1 px."""

    def __init__(self, image: Image.Image):
        self.image = image
        self.draw = ImageDraw.Draw(image)
        long_side = max(image.size)
        self.line = max(3, round(long_side / 320))
        self.letters = Lettering(max(12, round(long_side / 46)))
        self.tags: list[Rectangle] = []

    def pixels(self, fractions: np.ndarray) -> Rectangle:
        """Turns a yxyx box in fractions into a rectangle of the canvas, at least a line wide."""
        width, height = self.image.size
        y0, x0, y1, x1 = np.clip(np.nan_to_num(fractions), 0, 1).tolist()
        left, top = min(x0 * width, width - 1), min(y0 * height, height - 1)
        return left, top, max(min(x1 * width, width - 1), left), max(min(y1 * height, height - 1), top)

    def outline(self, box: Rectangle, color: tuple[int, int, int]) -> None:
        # A thin dark rim on either side keeps the line visible on its own colour.
        rim = max(1, self.line // 3)
        left, top, right, bottom = box
        outer = (left - rim, top - rim, right + rim, bottom + rim)
        self.draw.rectangle(outer, outline=_DARK, width=self.line + 2 * rim)
        self.draw.rectangle(box, outline=color, width=self.line)

    def _places(self, box: Rectangle, width: float, height: float) -> list[Rectangle]:
        """Returns the places for a tag, the best first; all inside the image."""
        left, top, right, bottom = box
        above, low, inner = top - height, bottom - height, right - width
        corners = [(left, above), (left, top), (inner, above), (left, bottom)]
        corners += [(left, low), (inner, low), (inner, bottom)]
        places = []
        for x, y in corners:
            x = min(max(x, 0), max(self.image.width - width, 0))
            y = min(max(y, 0), max(self.image.height - height, 0))
            places.append((x, y, x + width, y + height))
        return places

    def tag(self, box: Rectangle, text: str, color: tuple[int, int, int]) -> None:
        """Writes `text` on a patch of `color` where it hides the fewest other tags."""
        pad = max(2, self.line)
        top, bottom = self.letters.extent(text)
        width, height = self.letters.width(text) + 2 * pad, bottom - top + 1.5 * pad
        places = self._places(box, width, height)
        place = min(places, key=lambda p: sum(_overlap(p, other) for other in self.tags))
        self.tags.append(place)
        self.draw.rectangle(place, fill=color)
        self.letters.write(self.draw, (place[0] + pad, place[1] + pad - top), text, _ink(color))


def draw(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    score_threshold: float = DEFAULT_SCORE,
) -> np.ndarray:
    """Draws boxes with class and score from `score_threshold` on into an image `[H, W, 3]` uint8.

    Returns:
      `[H', W', 3]` uint8 of the same proportions, its longer side at least `MIN_LONG_SIDE_PX`.
    """
    factor = MIN_LONG_SIDE_PX / max(image.shape[:2])
    canvas = _Canvas(_scaled(image, factor) if factor > 1 else Image.fromarray(image))
    shown = detections.above(score_threshold)
    boxes = [canvas.pixels(box) for box in shown.boxes]
    # The best is drawn last, on top of the others.
    for box, label in reversed(list(zip(boxes, shown.labels.tolist(), strict=True))):
        canvas.outline(box, class_color(label))
    for box, label, score in zip(boxes, shown.labels.tolist(), shown.scores.tolist(), strict=True):
        canvas.tag(box, f"{shown_name(class_names[label], label)} {score:.2f}", class_color(label))
    return np.asarray(canvas.image)


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, cell_px: int = MIN_LONG_SIDE_PX, gap_px: int = 8
) -> np.ndarray:
    """Returns images in rows of `columns` on white, each fitted into a square cell and centred.

    The images are `[H, W, 3]` uint8 of any sizes; rows are as high as their highest image, with
    `gap_px` between cells and around them.
    """
    fitted = [_scaled(image, cell_px / max(image.shape[:2])) for image in images]
    rows = [fitted[i : i + columns] for i in range(0, len(fitted), columns)]
    heights = [max(drawn.height for drawn in row) for row in rows]
    width = min(columns, max(len(fitted), 1)) * (cell_px + gap_px) + gap_px
    sheet = Image.new("RGB", (width, sum(heights) + gap_px * (len(rows) + 1)), _LIGHT)
    top = gap_px
    for row, height in zip(rows, heights, strict=True):
        for column, drawn in enumerate(row):
            left = gap_px + column * (cell_px + gap_px) + (cell_px - drawn.width) // 2
            sheet.paste(drawn, (left, top + (height - drawn.height) // 2))
        top += height + gap_px
    return np.asarray(sheet)


def png_bytes(image: np.ndarray) -> bytes:
    """Returns an image `[H, W, 3]` uint8 as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()
