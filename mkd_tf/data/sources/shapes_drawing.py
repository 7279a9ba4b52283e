"""Draws the images of `shapes`: small figures in clutter, some of them half hidden.

Six classes come as three pairs that differ by one cut only: a square and one
with a notch, a ring and one with a gap, a triangle and one whose base is pushed
in. Size, colour, texture, rotation and position are independent of the class, and the
background has discs, crosses, arcs and bars that are not objects. So a detector must
find small details, which a larger network learns by itself and a small one by distillation.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("square", "notched_square", "ring", "broken_ring", "triangle", "arrowhead")

_NEGATIVES = 0.04  # share of images without an object
_MAX_OBJECTS = 6
_SIDES = (28 / 160, 84 / 160)  # of the longer side of a box, relative to the image's
_MIN_VISIBLE = 0.4  # below this share of its area an object is not worth a label
_MIN_CUT_VISIBLE = 0.6  # a hidden notch would make the label a guess
_FINE = 4  # masks are drawn this much larger, then averaged: smooth edges, boxes to 1/4 pixel

Polygon = Sequence[tuple[float, float]]  # x, y
_SQUARE: Polygon = ((-1, -1), (1, -1), (1, 1), (-1, 1))
_NOTCH: Polygon = ((-0.26, -1.1), (0.26, -1.1), (0.26, -0.4), (-0.26, -0.4))
_TRIANGLE: Polygon = ((0, -1), (0.87, 0.5), (-0.87, 0.5))
_DENT: Polygon = ((-0.62, 0.51), (0, 0.02), (0.62, 0.51))
_GAP_TURN = math.radians(24)
_MAX_TURN = math.radians(30)


@dataclasses.dataclass
class _Layer:
    """What one object adds to the image: masks `[size, size]` float32, 0..1."""

    mask: np.ndarray
    cut: np.ndarray  # the area that the other class of its pair fills in addition
    box: np.ndarray  # yxyx pixels
    visible: np.ndarray  # the part of `mask` that later layers leave visible
    cut_free: np.ndarray  # the same of `cut`


def _circle(radius: float) -> Polygon:
    turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    return [(radius * math.cos(t), radius * math.sin(t)) for t in turns]


def _polygons(label: int) -> tuple[list[Polygon], list[Polygon], list[Polygon]]:
    """Returns the polygons of a class on a unit figure: filled, always empty, and cut away."""
    base, has_cut = divmod(label, 2)
    filled, cut, empty = [_TRIANGLE], [_DENT], list[Polygon]()
    if base == 0:
        filled, cut = [_SQUARE], [_NOTCH]
    elif base == 1:
        wedge = [(0.0, 0.0)] + [(1.5 * math.cos(t), 1.5 * math.sin(t)) for t in (-_GAP_TURN, _GAP_TURN)]
        filled, cut, empty = [_circle(1.0)], [wedge], [_circle(0.52)]
    return filled, empty, cut if has_cut else []


def _fine_mask(polygons: list[Polygon], transform: np.ndarray, centre: np.ndarray, side: int) -> np.ndarray:
    """Returns the union of polygons as a `[side, side]` bool mask."""
    mask = Image.new("1", (side, side))
    draw = ImageDraw.Draw(mask)
    for polygon in polygons:
        draw.polygon([tuple(p) for p in np.asarray(polygon) @ transform.T + centre], fill=1)
    return np.asarray(mask)


def _average(fine: np.ndarray) -> np.ndarray:
    reduced = Image.fromarray(fine.astype("uint8") * 255).reduce(_FINE)
    return np.asarray(reduced).astype("float32") / 255


def _figure(rng: np.random.Generator, label: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns one object on a tile: its mask, its cut (`[t, t]` float32) and its box in the tile."""
    long_side = size * math.exp(rng.uniform(*np.log(_SIDES)))
    turn, stretch = rng.uniform(-_MAX_TURN, _MAX_TURN), math.exp(rng.uniform(-0.2, 0.2))
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    transform = turned @ np.diag([stretch, 1 / stretch])
    filled, empty, cut = _polygons(label)
    extent = np.ptp(np.concatenate(filled) @ transform.T, axis=0).max()
    transform *= long_side * _FINE / extent
    tile = _FINE * (math.ceil(long_side * 1.4) + 2)  # 1.4: a triangle's centre is not its box's
    centre = np.full(2, tile / 2) + rng.uniform(0, _FINE, 2)
    missing = _fine_mask(cut, transform, centre, tile)
    whole = _fine_mask(filled, transform, centre, tile) & ~_fine_mask(empty, transform, centre, tile)
    shown = whole & ~missing
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / _FINE
    return _average(shown), _average(whole & missing), box


def _place(rng: np.random.Generator, label: int, size: int) -> _Layer:
    """Puts one object anywhere inside the image."""
    mask, cut, box = _figure(rng, label, size)
    low, high = -np.floor(box[:2]), size - np.ceil(box[2:])
    top, left = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
    tile = mask.shape[0]
    source = tuple(slice(max(0, -o), min(tile, size - o)) for o in (top, left))
    target = tuple(slice(max(0, o), min(size, o + tile)) for o in (top, left))
    shown, missing = np.zeros((2, size, size), "float32")
    shown[target], missing[target] = mask[source], cut[source]
    return _Layer(shown, missing, box + [top, left, top, left], shown, missing)


def _cover(layers: list[_Layer], mask: np.ndarray) -> bool:
    """Lays `mask` over all layers unless it would hide one of them; returns whether it did."""
    free = 1 - mask
    after = [(layer.visible * free, layer.cut_free * free) for layer in layers]
    for layer, (visible, cut_free) in zip(layers, after, strict=True):
        hides = visible.sum() < _MIN_VISIBLE * layer.mask.sum()
        if hides or cut_free.sum() < _MIN_CUT_VISIBLE * layer.cut.sum():
            return False
    for layer, (visible, cut_free) in zip(layers, after, strict=True):
        layer.visible, layer.cut_free = visible, cut_free
    return True


def _noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Returns `[size, size]` float32 smooth noise with about `cells` bumps a side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype("float32"))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _clutter(rng: np.random.Generator, image: Image.Image) -> None:
    """Draws figures that are no objects onto the background."""
    draw, size = ImageDraw.Draw(image), image.width
    for _ in range(rng.integers(2, 8)):
        colour = tuple(int(c) for c in rng.integers(20, 236, 3))
        x, y = rng.uniform(0, size, 2)
        reach, turn = size * math.exp(rng.uniform(*np.log((0.03, 0.22)))), rng.uniform(0, 2 * math.pi)
        dx, dy = reach * math.cos(turn), reach * math.sin(turn)
        width = max(1, int(size * rng.uniform(0.006, 0.025)))
        kind = rng.integers(4)
        if kind == 0:  # a disc or an oval
            ry = reach / 2 * rng.uniform(0.5, 1)
            draw.ellipse((x - reach / 2, y - ry, x + reach / 2, y + ry), fill=colour)
        elif kind == 1:  # a long line
            draw.line((x - 2 * dx, y - 2 * dy, x + 2 * dx, y + 2 * dy), fill=colour, width=width)
        elif kind == 2:  # less than half a ring
            start = math.degrees(turn)
            draw.arc((x - reach / 2, y - reach / 2, x + reach / 2, y + reach / 2), start,
                     start + rng.uniform(60, 160), fill=colour, width=width * 2)  # fmt: skip
        else:  # a cross
            for ax, ay in ((dx, dy), (-dy, dx)):
                draw.line((x - ax / 2, y - ay / 2, x + ax / 2, y + ay / 2), fill=colour, width=width * 2)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns `[size, size, 3]` float32: a colour gradient, noise of several scales, clutter."""
    corners = Image.fromarray(rng.integers(30, 226, (3, 3, 3)).astype("uint8"))
    canvas = np.asarray(corners.resize((size, size), Image.Resampling.BICUBIC)).astype("float32")
    grey = canvas.mean(-1, keepdims=True)
    canvas = grey + np.float32(rng.uniform(0.3, 0.9)) * (canvas - grey)
    for cells in (4, 9, 20, 45):
        canvas += np.float32(rng.uniform(0, 16)) * _noise(rng, cells, size)[..., None]
    image = Image.fromarray(np.clip(canvas, 0, 255).astype("uint8"))
    fine = image.resize((2 * size, 2 * size), Image.Resampling.NEAREST)
    _clutter(rng, fine)  # drawn twice as large for smooth edges
    return np.asarray(fine.reduce(2)).astype("float32")


def _paint(rng: np.random.Generator, canvas: np.ndarray, mask: np.ndarray) -> None:
    """Fills `mask` in place with a shaded colour that stands out from what lies below."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    canvas, alpha = canvas[window], mask[window][..., None]
    below = (canvas * alpha).sum((0, 1)) / alpha.sum()
    for _ in range(20):
        colour = rng.uniform(15, 240, 3)
        if np.abs(colour - below).mean() > 45:
            break
    height, width = alpha.shape[:2]
    fall = np.linspace(-1, 1, height)[:, None] * rng.uniform(-20, 20)
    fall = fall + np.linspace(-1, 1, width) * rng.uniform(-20, 20)
    shade = fall + rng.uniform(0, 8) * rng.standard_normal((height, width))
    painted = np.clip(colour + shade[..., None], 0, 255).astype("float32")
    canvas += alpha * (painted - canvas)


def _bar(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns the mask of a bar across the image, which hides parts of objects."""
    side = size * _FINE
    x, y = rng.uniform(0, side, 2)
    turn, width = rng.uniform(0, math.pi), int(side * rng.uniform(0.015, 0.05))
    dx, dy = side * math.cos(turn), side * math.sin(turn)
    mask = Image.new("1", (side, side))
    ImageDraw.Draw(mask).line((x - dx, y - dy, x + dx, y + dy), fill=1, width=width)
    return _average(np.asarray(mask))


def image_name(split: str, number: int) -> str:
    """Returns the id of an image."""
    return f"{split}_{number:05d}"


def draw_image(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one image.

    Args:
      rng: decides everything in the image.
      size: side of the image in pixels, from 64 on.

    Returns:
      image `[size, size, 3]` uint8; boxes `[M, 4]` float32 yxyx in 0..1, each of the
      whole object, hidden parts included; labels `[M]` int32, indices into `CLASS_NAMES`.
    """
    canvas = _background(rng, size)
    wanted = 0 if rng.random() < _NEGATIVES else int(rng.integers(1, _MAX_OBJECTS + 1))
    layers: list[_Layer] = []
    labels: list[int] = []
    for label in rng.integers(len(CLASS_NAMES), size=wanted):
        for _ in range(8):
            layer = _place(rng, int(label), size)
            if _cover(layers, layer.mask):
                _paint(rng, canvas, layer.mask)
                layers.append(layer)
                labels.append(int(label))
                break
    for _ in range(rng.integers(0, 3)):
        bar = _bar(rng, size)
        if _cover(layers, bar):
            _paint(rng, canvas, bar)
    canvas += np.float32(rng.uniform(2, 9)) * rng.standard_normal(canvas.shape, "float32")
    image = np.clip(canvas, 0, 255).astype("uint8")
    boxes = np.array([layer.box for layer in layers], "float32").reshape(-1, 4) / size
    return image, boxes, np.array(labels, "int32")
