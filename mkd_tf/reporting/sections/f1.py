"""F1 over the score threshold, for each class and for all of them: where a network is used."""

import numpy as np

from mkd_tf.reporting.base import Report, Section, charts_by_class, counted, points_of
from mkd_tf.reporting.judging import THRESHOLDS, f1_at_thresholds
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.measured import Network
from mkd_tf.reporting.plot import Panel, figure
from mkd_tf.reporting.scales import Scale


def make(report: Report) -> Section:
    """Returns one chart for all classes together and one for each."""
    networks, charts, missing = charts_by_class(report, _chart)
    points = node("p", f"Operating points: {points_of(networks)}.", class_="note")
    lead = (
        "F1 is the harmonic mean of precision and recall of the detections from a score on (van Rijsbergen, "
        "1979), at IoU 0.5. Networks peak at different scores: a common threshold favours one of them."
    )
    return Section("F1", lead, [*charts, points, *missing])


def _chart(
    report: Report, title: str, networks: dict[str, Network], label: int | None, images: str
) -> Element:
    curves, dots, objects = {}, {}, 0
    for name, network in networks.items():
        judged = network.judged_of(label)
        curves[name], objects = f1_at_thresholds(judged), int(judged.objects.sum())
        dots[name] = judged.f1_at(network.threshold)
    panel = Panel(Scale(0, 1, "score threshold"), Scale(0, 1, "F1"))
    texts = []
    for name, curve in curves.items():
        best, point = int(np.argmax(curve)), networks[name].threshold
        text = f"{name}: best {curve[best]:.2f} at {THRESHOLDS[best]:.2f}"
        texts.append(text)
        panel.line(zip(THRESHOLDS.tolist(), curve.tolist(), strict=True), report.style(name), text)
        here = dots[name]
        panel.dots([(point, here)], report.style(name), [f"{name} at {point:.2f}: F1 {here:.2f}"])
    note = f"{counted(objects, 'object')} in {images}"
    return figure(title, note, panel.svg(f"F1 over the score threshold: {title}", "; ".join(texts)))
