"""Images with what was found drawn into them, for a reader's eye.

Small images are enlarged, and lines and letters grow with the image, so that a
thumbnail and a photograph read alike.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth

MIN_LONG_SIDE_PX = 640
# Told apart by colour-blind readers: Okabe and Ito, "Color Universal Design", 2008,
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


def _enlarged(image: np.ndarray) -> Image.Image:
    drawn = Image.fromarray(image)
    factor = MIN_LONG_SIDE_PX / max(drawn.size)
    if factor <= 1:
        return drawn
    size = (max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor)))
    return drawn.resize(size, Image.Resampling.LANCZOS)


def _overlap(a: Rectangle, b: Rectangle) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


class _Canvas:
    """An image, its scale of lines and letters, and where tags already lie. Boxes are x0 y0 x1 y1 px."""

    def __init__(self, image: Image.Image):
        self.image = image
        self.draw = ImageDraw.Draw(image)
        long_side = max(image.size)
        self.line = max(3, round(long_side / 320))
        self.font = ImageFont.load_default(max(12, round(long_side / 46)))
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

    def dashes(self, box: Rectangle) -> None:
        """Draws a white dashed outline with a dark rim."""
        left, top, right, bottom = box
        step = 4 * self.line
        edges = (
            ((left, top), (right, top)),
            ((right, top), (right, bottom)),
            ((right, bottom), (left, bottom)),
            ((left, bottom), (left, top)),
        )
        for (x0, y0), (x1, y1) in edges:
            length = math.hypot(x1 - x0, y1 - y0)
            for start in np.arange(0, length, 2 * step):
                a, b = start / length, min(start + step, length) / length
                dash = (x0 + a * (x1 - x0), y0 + a * (y1 - y0), x0 + b * (x1 - x0), y0 + b * (y1 - y0))
                self.draw.line(dash, fill=_DARK, width=self.line + 2)
                self.draw.line(dash, fill=_LIGHT, width=self.line)

    def _places(self, box: Rectangle, width: float, height: float) -> list[Rectangle]:
        """Where a tag may go, the best place first; all inside the image."""
        left, top, right, bottom = box
        corners = [
            (left, top - height),
            (left, top),
            (right - width, top - height),
            (left, bottom),
            (left, bottom - height),
            (right - width, bottom - height),
            (right - width, bottom),
        ]
        places = []
        for x, y in corners:
            x = min(max(x, 0), max(self.image.width - width, 0))
            y = min(max(y, 0), max(self.image.height - height, 0))
            places.append((x, y, x + width, y + height))
        return places

    def tag(self, box: Rectangle, text: str, color: tuple[int, int, int]) -> None:
        """Writes `text` on a patch of `color` where it hides the fewest other tags."""
        pad = max(2, self.line)
        # Of a capital and a tail, whatever the text: all tags are equally high.
        _, top, _, bottom = self.font.getbbox("Ag")
        width, height = self.font.getlength(text) + 2 * pad, bottom - top + 1.5 * pad
        places = self._places(box, width, height)
        place = min(places, key=lambda p: sum(_overlap(p, other) for other in self.tags))
        self.tags.append(place)
        self.draw.rectangle(place, fill=color)
        self.draw.text((place[0] + pad, place[1] + pad - top), text, fill=_ink(color), font=self.font)


def draw(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    score_threshold: float = 0.3,
    truth: Truth | None = None,
) -> np.ndarray:
    """Draws boxes with class and score, and the truth, if given, as dashed outlines.

    Args:
      image: `[H, W, 3]` uint8.
      detections: what was found, boxes as fractions of the image.
      class_names: names in the order of the labels.
      score_threshold: detections below it are left out.
      truth: what is there, on the pixels of `image`.

    Returns:
      `[H', W', 3]` uint8 of the same shape, its longer side at least `MIN_LONG_SIDE_PX`.
    """
    canvas = _Canvas(_enlarged(image))
    if truth is not None:
        for box in truth.boxes / [truth.height, truth.width, truth.height, truth.width]:
            canvas.dashes(canvas.pixels(box))
    shown = detections.above(score_threshold)
    boxes = [canvas.pixels(box) for box in shown.boxes]
    # The best last: it lies on top.
    for box, label in reversed(list(zip(boxes, shown.labels.tolist(), strict=True))):
        canvas.outline(box, class_color(label))
    for box, label, score in zip(boxes, shown.labels.tolist(), shown.scores.tolist(), strict=True):
        canvas.tag(box, f"{class_names[label]} {score:.2f}", class_color(label))
    return np.asarray(canvas.image)


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, cell_px: int = MIN_LONG_SIDE_PX, gap_px: int = 8
) -> np.ndarray:
    """Returns images in rows of `columns` on white, each fitted into a square cell and centred.

    Args:
      images: `[H, W, 3]` uint8 each, of any sizes.
      columns: cells per row.
      cell_px: side of a cell; rows are as high as their highest image.
      gap_px: between cells and around them.
    """
    fitted = []
    for image in images:
        drawn = Image.fromarray(image)
        factor = cell_px / max(drawn.size)
        size = (max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor)))
        fitted.append(drawn.resize(size, Image.Resampling.LANCZOS))
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
