"""Detections side by side: the same test images, each network from its own operating point on.

An image is in the page once, as a JPEG of bounded size; boxes are drawn over it as SVG.
"""

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.reporting.base import Report, Section, left_out, networks_of, points_of
from mkd_tf.reporting.judging import taken_objects
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.photos import box_mark, fitted, jpeg, tag_mark

SHOWN = 5
_MOST_BOXES = 40
_FOUND, _FALSE, _MISSED, _IGNORED = "found", "false", "missed", "ignored"


def make(report: Report) -> Section:
    """Returns a row of drawings for each of a few images: the truth, then the networks."""
    measured, networks, images = networks_of(report)
    places = np.linspace(0, len(measured.truth) - 1, min(SHOWN, len(measured.truth))).round().astype(int)
    stored, rows = [], []
    for place in dict.fromkeys(places.tolist()):
        truth = measured.truth[place]
        name, size = f"photo{place}", fitted((truth.height, truth.width))
        stored.append(
            node("image", id=name, width=size[0], height=size[1], href=jpeg(measured.images.image(place)))
        )
        named = truth.named()
        everything = Detections(
            named.boxes / [truth.height, truth.width, truth.height, truth.width],
            np.ones(len(named.labels), "float32"),
            named.labels,
        )
        note = f"{len(everything)} objects{_cut(len(everything))}"
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
    marks = [box_mark(_scaled(truth, i), size, _MISSED) for i in missed[:_MOST_BOXES]]
    order = range(min(len(found), _MOST_BOXES))
    marks += [box_mark(found.boxes[i], size, kinds[i]) for i in reversed(order)]
    for i in order:
        words = class_names[found.labels[i]]
        if not is_truth:
            # The class of a right detection is that of the truth beside it.
            words = f"{words} {found.scores[i]:.2f}" if kinds[i] == _FALSE else f"{found.scores[i]:.2f}"
        marks.append(tag_mark(found.boxes[i], size, words, kinds[i]))
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
