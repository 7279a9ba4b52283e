"""Detections side by side: the same test images, each network from its own operating point on.

An image is in the page once, as a JPEG of bounded size; boxes are drawn over it as SVG.
"""

import base64
import io

import numpy as np
from PIL import Image

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.reporting.base import Report, Section, left_out, networks_of, points_of
from mkd_tf.reporting.judging import taken_objects
from mkd_tf.reporting.markup import Element, node

SHOWN = 5
LONG_SIDE_PX = 480
_QUALITY = 82
_MOST_BOXES = 40
_LETTER_PX = 27
_FOUND, _FALSE, _MISSED, _IGNORED = "found", "false", "missed", "ignored"


def make(report: Report) -> Section:
    """Returns a row of drawings for each of a few images: the truth, then the networks."""
    measured, networks, images = networks_of(report)
    places = np.linspace(0, len(measured.truth) - 1, min(SHOWN, len(measured.truth))).round().astype(int)
    stored, rows = [], []
    for place in dict.fromkeys(places.tolist()):
        truth = measured.truth[place]
        name, size = f"photo{place}", _fitted(truth)
        stored.append(
            node("image", id=name, width=size[0], height=size[1], href=_jpeg(measured.images.image(place)))
        )
        everything = Detections(
            truth.boxes / [truth.height, truth.width, truth.height, truth.width],
            np.ones(len(truth.labels), "float32"),
            truth.labels,
        )
        note = f"{len(truth.labels)} objects{_cut(len(truth.labels))}"
        given = name, size, truth, everything, measured.class_names
        cells = [_cell("truth", note, *given, is_truth=True)]
        for title, network in networks.items():
            found = network.detections[place].above(network.threshold)
            note = f"from {network.threshold:.2f}"
            cells.append(_cell(title, note, name, size, truth, found, measured.class_names))
        rows.append(
            node("div", node("h4", truth.image_id), node("div", cells, class_="row"), class_="photos")
        )
    key = node(
        "ul",
        node("li", _sample(_FOUND), "found: class right, IoU of at least 0.5"),
        node("li", _sample(_FALSE), "false: no such object there, or found before"),
        node("li", _sample(_MISSED), "missed object"),
        class_="legend",
    )
    hidden = node("svg", node("defs", stored), width=0, height=0, aria_hidden="true", class_="store")
    body = [key, hidden, *rows, node("p", f"Operating points: {points_of(networks)}.", class_="note")]
    body += [node("p", text, class_="missing") for text in left_out(measured)]
    lead = (
        f"{len(rows)} images at equal distances in {images}, not chosen by hand. Each network is drawn from "
        "its own operating point on: at a common score, a network with lower scores would seem to find less. "
        "Right detections bear their score, false ones also the class."
    )
    return Section("Detections", lead, body)


def _sample(style: str) -> Element:
    box = node("rect", x=2, y=2, width=24, height=10, class_=f"box {style}")
    return node("svg", box, viewBox="0 0 28 14", class_="swatch", aria_hidden="true")


def _fitted(truth: Truth) -> tuple[int, int]:
    """Returns width and height of an image on the page, its longer side `LONG_SIDE_PX`."""
    factor = LONG_SIDE_PX / max(truth.height, truth.width)
    return max(round(truth.width * factor), 1), max(round(truth.height * factor), 1)


def _jpeg(image: np.ndarray) -> str:
    """Returns an image as a data URI, made smaller where it is larger than it is shown."""
    smaller = Image.fromarray(image)
    smaller.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    smaller.save(stream, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _cell(
    title: str,
    note: str,
    name: str,
    size: tuple[int, int],
    truth: Truth,
    found: Detections,
    class_names: tuple[str, ...],
    is_truth: bool = False,
) -> Element:
    kinds = [_FOUND] * len(found)
    missed: list[int] = []
    if not is_truth:
        taken, counts = taken_objects(truth, found)
        kinds = [
            _IGNORED if not c else _FOUND if t >= 0 else _FALSE for t, c in zip(taken, counts, strict=True)
        ]
        ignored = truth.is_difficult | truth.is_crowd
        missed = [i for i in range(len(truth.labels)) if i not in set(taken.tolist()) and not ignored[i]]
        counts_of = f"{kinds.count(_FOUND)} found, {kinds.count(_FALSE)} false{_cut(len(found))}"
        note = f"{note}: {counts_of}, {len(missed)} missed{_cut(len(missed))}"
    marks = [_box(_scaled(truth, i), size, _MISSED) for i in missed[:_MOST_BOXES]]
    order = range(min(len(found), _MOST_BOXES))
    marks += [_box(found.boxes[i], size, kinds[i]) for i in reversed(order)]
    for i in order:
        words = class_names[found.labels[i]]
        if not is_truth:
            # The class of a right detection is that of the truth beside it.
            words = f"{words} {found.scores[i]:.2f}" if kinds[i] == _FALSE else f"{found.scores[i]:.2f}"
        marks.append(_tag(found.boxes[i], size, words, kinds[i]))
    drawn = node("use", href=f"#{name}")
    described = f"{title}, {note}"
    svg = node(
        "svg",
        drawn,
        marks,
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        aria_label=described,
        class_="photo",
    )
    return node("figure", svg, node("figcaption", node("b", title), " ", node("span", note)))


def _cut(count: int) -> str:
    return f" ({_MOST_BOXES} drawn)" if count > _MOST_BOXES else ""


def _scaled(truth: Truth, index: int) -> np.ndarray:
    return truth.boxes[index] / [truth.height, truth.width, truth.height, truth.width]


def _box(box: np.ndarray, size: tuple[int, int], style: str) -> Element:
    y0, x0, y1, x1 = np.clip(np.nan_to_num(box), 0, 1).tolist()
    places = {
        "x": x0 * size[0],
        "y": y0 * size[1],
        "width": (x1 - x0) * size[0],
        "height": (y1 - y0) * size[1],
    }
    return node("rect", class_=f"box {style}", **{k: f"{v:.1f}" for k, v in places.items()})


def _tag(box: np.ndarray, size: tuple[int, int], text: str, style: str) -> Element:
    """Returns a name above a box, or below one at the top; it ends at the box's end where it is too long."""
    y0, x0, y1, x1 = np.clip(np.nan_to_num(box), 0, 1).tolist()
    y = y0 * size[1] - 7 if y0 * size[1] > _LETTER_PX else min(y1 * size[1] + _LETTER_PX, size[1] - 4)
    ends = x0 * size[0] + 0.62 * _LETTER_PX * len(text) > size[0]
    x = min(x1 * size[0], size[0] - 3) if ends else x0 * size[0] + 2
    return node("text", text, x=f"{x:.1f}", y=f"{y:.1f}", class_=f"name {style}{' end' if ends else ''}")
