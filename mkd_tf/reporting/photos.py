"""Photographs on a page: a JPEG of bounded size in the page itself, with boxes over it as SVG."""

import base64
import io

import numpy as np
from PIL import Image

from mkd_tf.reporting.markup import Element, node

LONG_SIDE_PX = 480
_QUALITY = 82
_LETTER_PX = 27


def jpeg(image: np.ndarray, long_side: int = LONG_SIDE_PX) -> str:
    """Returns an image as a data URI, made smaller where it is larger than it is shown."""
    smaller = Image.fromarray(image)
    smaller.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    smaller.save(stream, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def fitted(height_width: tuple[int, int]) -> tuple[int, int]:
    """Returns width and height of an image in units of its drawing, its longer side `LONG_SIDE_PX`."""
    height, width = height_width
    factor = LONG_SIDE_PX / max(height, width)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def box_mark(box: np.ndarray, size: tuple[int, int], style: str, color: str = "") -> Element:
    """Returns a box `[4]` yxyx, 0..1 of the image, as a rectangle; `size` is width and height."""
    y0, x0, y1, x1 = np.clip(np.nan_to_num(box), 0, 1).tolist()
    places = {
        "x": x0 * size[0],
        "y": y0 * size[1],
        "width": (x1 - x0) * size[0],
        "height": (y1 - y0) * size[1],
    }
    own = f"--c:{color}" if color else None
    return node("rect", class_=f"box {style}", style=own, **{k: f"{v:.1f}" for k, v in places.items()})


def tag_mark(box: np.ndarray, size: tuple[int, int], text: str, style: str) -> Element:
    """Returns a name above a box, or below one at the top; it ends at the box's end where it is too long."""
    y0, x0, y1, x1 = np.clip(np.nan_to_num(box), 0, 1).tolist()
    y = y0 * size[1] - 7 if y0 * size[1] > _LETTER_PX else min(y1 * size[1] + _LETTER_PX, size[1] - 4)
    ends = x0 * size[0] + 0.62 * _LETTER_PX * len(text) > size[0]
    x = min(x1 * size[0], size[0] - 3) if ends else x0 * size[0] + 2
    return node("text", text, x=f"{x:.1f}", y=f"{y:.1f}", class_=f"name {style}{' end' if ends else ''}")


def photo(image: np.ndarray, marks: list[Element], described: str, long_side: int = 320) -> Element:
    """Returns an image `[H, W, 3]` uint8 with marks over it; `described` is its name for readers."""
    width, height = fitted(image.shape[:2])
    shown = node("image", width=width, height=height, href=jpeg(image, long_side))
    view = {"viewBox": f"0 0 {width} {height}"}
    return node("svg", shown, marks, role="img", aria_label=described, class_="photo", **view)
