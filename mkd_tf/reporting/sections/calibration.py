"""Calibration: is a detection with a score of 0.8 right in 80 of 100 cases?"""

import numpy as np

from mkd_tf.reporting.base import Report, Section, counted, networks_of
from mkd_tf.reporting.judging import Reliability, reliability
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.measured import Network
from mkd_tf.reporting.plot import Panel, figure, panels
from mkd_tf.reporting.scales import Scale
from mkd_tf.reporting.tables import Table, number

BINS = 10


def make(report: Report) -> Section:
    """Returns a reliability diagram of each network and a table of their errors."""
    _, networks, images = networks_of(report)
    charts, rows = [], []
    for name, network in networks.items():
        everything = reliability(network.judged, bins=BINS)
        used = reliability(network.judged, network.threshold, BINS)
        charts.append(_chart(report, name, network, everything, images))
        errors = [number(found.error, ".3f") for found in (everything, used)]
        counts = [f"{int(found.counts.sum()):,}" for found in (everything, used)]
        sign = _direction(used)
        rows.append([name, errors[0], counts[0], f"{network.threshold:.2f}", errors[1], counts[1], sign])
    columns = ["network", "D-ECE, all", "detections", "operating point", "D-ECE, from there on", "detections"]
    table = Table(
        f"Calibration error of detections, {images}", [*columns, "scores are"], rows, ["scores are"]
    )
    note = (
        "D-ECE is the expected calibration error of detections: the mean distance between score and "
        f"precision over {BINS} equal parts of 0..1, weighted by their detections (Kuppers et al., "
        "'Multivariate Confidence Calibration for Object Detection', CVPR Workshops 2020, here for the score "
        "alone). Most detections have scores near 0, so the figure from the operating point on says more "
        "about use."
    )
    body: list[Element | Table] = [panels(charts), table, node("p", note, class_="note")]
    lead = (
        "The bar over a score is the share of its detections that are right; on the diagonal the score can "
        "be read as a probability. A bar below the diagonal is overconfidence. Pale bars have fewer than 10 "
        "detections."
    )
    return Section("Calibration", lead, body)


def _direction(found: Reliability) -> str:
    total = found.counts.sum()
    if not total:
        return "not known"
    gap = float(np.nansum(found.counts * (found.scores - found.precision)) / total)
    return "too high" if gap > 0.02 else "too low" if gap < -0.02 else "about right"


def _chart(report: Report, name: str, network: Network, found: Reliability, images: str) -> Element:
    panel = Panel(Scale(0, 1, "score"), Scale(0, 1, "precision"))
    style, texts = report.style(name), []
    for place, count in enumerate(found.counts.tolist()):
        if count:
            low, precision = place / BINS, float(found.precision[place])
            text = f"{low:.1f} to {low + 0.1:.1f}: {counted(count, 'detection')}, {precision:.0%} right"
            texts.append(text)
            pale = " pale" if count < 10 else ""
            panel.bar(low, low + 1 / BINS, 0, precision, f"bar {style}{pale}", text)
    panel.line([(0, 0), (1, 1)], "ideal", "score equals precision")
    known = [(float(s), float(p)) for s, p in zip(found.scores, found.precision, strict=True) if s == s]
    panel.dots(known, f"small {style}")
    note = f"{counted(int(found.counts.sum()), 'detection')} in {images}"
    return figure(name, note, panel.svg(f"Reliability of {name}", "; ".join(texts) or "no detections"))
