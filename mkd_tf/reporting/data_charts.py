"""Drawings of a data set: objects by class, sizes of boxes, and where in the images they lie."""

import base64
import io
import math
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from mkd_tf.inspection.contents import Contents
from mkd_tf.reporting.base import by_class, counted
from mkd_tf.reporting.markup import Element, name_of, node
from mkd_tf.reporting.plot import Panel, figure, panels, series, stretched
from mkd_tf.reporting.scales import Scale
from mkd_tf.reporting.strips import row, rows
from mkd_tf.schemas.inspection import InspectionFile

STYLES = {"train": series(0), "validation": series(2), "test": series(1), "unlabelled": series(3)}
MOST_CLASSES, MOST_CHARTS, MOST_MAPS = 30, 12, 5
_CELLS = 32
_INK = (36, 118, 210)


def class_bars(record: InspectionFile) -> list[Element]:
    """Returns a row for each class with a bar for each split, those with the most objects first."""
    splits = [s for s, facts in record["splits"].items() if facts["labelled"]]
    counts = {
        name: [record["splits"][s]["per_class"][name]["objects"] for s in splits]
        for name in record["classes"]
    }
    order = sorted(counts, key=lambda name: -sum(counts[name]))
    most = max([1, *(max(c, default=0) for c in counts.values())])
    scale = Scale(0, most * 1.02, "objects")
    items = []
    for name in order:
        high = 18 / max(len(splits), 1)
        marks = [
            node(
                "rect",
                x=0,
                y=f"{1 + i * high:.1f}",
                width=f"{100 * scale.place(count):.2f}",
                height=f"{high - 0.8:.1f}",
                class_=f"bar {STYLES[split]}",
            )
            for i, (split, count) in enumerate(zip(splits, counts[name], strict=True))
        ]
        each = ", ".join(f"{split} {count:,}" for split, count in zip(splits, counts[name], strict=True))
        drawing = stretched(marks, name, each)
        total = sum(counts[name])
        items.append(row(name_of(name), drawing, f"{total:,}", node("small", each)))
    key = swatches([(split, STYLES[split], "") for split in splits])
    shown, more = items[:MOST_CLASSES], items[MOST_CLASSES:]
    found = [key, rows(scale, shown, "")]
    if more:
        summary = node("summary", counted(len(more), "more class"))
        found.append(node("details", summary, rows(scale, more, "")))
    return found


def swatches(items: Iterable[tuple[str, str, str]]) -> Element:
    """Returns what each colour is: names with the class of a bar, or with a colour of their own."""
    made = []
    for name, style, color in items:
        own = f"--c:{color}" if color else None
        patch = node("rect", x=2, y=1, width=24, height=10, class_=f"bar solid {style}".strip(), style=own)
        made.append(
            node("li", node("svg", patch, viewBox="0 0 28 12", class_="swatch", aria_hidden="true"), name)
        )
    return node("ul", made, class_="legend")


def size_charts(record: InspectionFile, contents: Mapping[str, Contents]) -> list[Element]:
    """Returns histograms of box sizes in pixels of the input, of all classes and of each."""
    known = [c for c in contents.values() if c.is_labelled.any()]
    size = np.concatenate([np.zeros(0), *(c.size_px[c.is_object] for c in known)])
    labels = np.concatenate([np.zeros(0, int), *(c.labels[c.is_object] for c in known)])
    if not len(size):
        return [node("p", "No object.", class_="missing")]
    low = math.floor(2 * math.log2(max(size.min(), 0.5)))
    high = math.ceil(2 * math.log2(max(size.max(), 1)) + 1e-9)
    edges = 2 ** (np.arange(low, max(high, low + 2) + 1) / 2)
    stride = record["strides"][0]

    def chart(title: str, chosen: np.ndarray) -> Element:
        counts, _ = np.histogram(np.clip(size[chosen], edges[0], edges[-1]), edges)
        top = max(int(counts.max()), 1)
        panel = Panel(
            Scale(float(edges[0]), float(edges[-1]), "px, root of the area", log=True),
            Scale(0, 1.15 * top, "objects"),
        )
        for left, right, count in zip(edges, edges[1:], counts.tolist(), strict=False):
            if count:
                text = f"{left:.1f} to {right:.1f} px: {counted(count, 'object')}"
                panel.bar(left, right, 0, count, f"bar {series(0)}", text)
        if edges[0] < stride < edges[-1]:
            panel.line([(stride, 0), (stride, 1.15 * top)], "ideal", f"the finest stride, {stride} px")
            panel.label(1.75 * stride, 1.08 * top, f"stride {stride}")
        below = int((size[chosen] < stride).sum())
        middle = f"median {np.median(size[chosen]):.0f} px, {below:,} below {stride} px"
        note = f"{counted(int(chosen.sum()), 'object')}, {middle}"
        return figure(title, note, panel.svg(f"Box sizes, {title}", note))

    charts = [chart("all classes", np.ones(len(size), bool))]
    common = np.argsort(-np.bincount(labels, minlength=len(record["classes"])), kind="stable")
    for label in common[:MOST_CHARTS].tolist():
        if (labels == label).any():
            charts.append(chart(record["classes"][label], labels == label))
    return by_class(charts)


def heat_maps(record: InspectionFile, contents: Mapping[str, Contents]) -> list[Element]:
    """Returns how often each place of an image is covered by a box, of all classes and of the first ones."""
    known = [c for c in contents.values() if c.is_labelled.any()]
    boxes = np.concatenate([np.zeros((0, 4)), *(c.boxes[c.is_object] for c in known)])
    labels = np.concatenate([np.zeros(0, int), *(c.labels[c.is_object] for c in known)])
    if not len(boxes):
        return [node("p", "No object.", class_="missing")]
    charts = [_map("all classes", boxes)]
    common = np.argsort(-np.bincount(labels, minlength=len(record["classes"])), kind="stable")
    for label in common[:MOST_MAPS].tolist():
        if (labels == label).any():
            charts.append(_map(record["classes"][label], boxes[labels == label]))
    return [panels(charts)]


def coverage(boxes: np.ndarray, cells: int = _CELLS) -> np.ndarray:
    """Returns how many boxes `[M, 4]` (yxyx, 0..1) cover the centre of each cell, `[cells, cells]` int.

    A box smaller than a cell covers the cell of its centre.
    """
    low = np.ceil(np.clip(boxes[:, :2], 0, 1) * cells - 0.5).astype(int)
    high = np.ceil(np.clip(boxes[:, 2:], 0, 1) * cells - 0.5).astype(int)
    middle = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2 * cells, 0, cells - 1).astype(int)
    is_empty = high <= low
    low, high = np.where(is_empty, middle, low), np.where(is_empty, middle + 1, high)
    # Corners of a summed table: the cost does not grow with the size of the boxes.
    corners = np.zeros((cells + 1, cells + 1), int)
    for sign, y, x in (
        (1, low[:, 0], low[:, 1]),
        (-1, low[:, 0], high[:, 1]),
        (-1, high[:, 0], low[:, 1]),
        (1, high[:, 0], high[:, 1]),
    ):
        np.add.at(corners, (y, x), sign)
    return corners.cumsum(axis=0).cumsum(axis=1)[:cells, :cells]


def _map(title: str, boxes: np.ndarray) -> Element:
    found = coverage(boxes)
    most = max(int(found.max()), 1)
    pixels = np.zeros((*found.shape, 4), "uint8")
    pixels[..., :3] = _INK
    pixels[..., 3] = np.round(255 * found / most)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    data = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    note = f"{counted(len(boxes), 'box')}; the darkest place lies in {most:,}"
    image = node("img", src=data, alt=f"Places of boxes, {title}: {note}", class_="map")
    return figure(title, note, image)
