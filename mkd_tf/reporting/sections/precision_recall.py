"""Precision over recall, for each class and for all of them."""

from mkd_tf.reporting.base import Report, Section, charts_by_class, counted
from mkd_tf.reporting.judging import RECALLS, precision_at_recalls
from mkd_tf.reporting.markup import Element
from mkd_tf.reporting.measured import Network
from mkd_tf.reporting.plot import Panel, figure
from mkd_tf.reporting.scales import Scale


def make(report: Report) -> Section:
    """Returns one chart for all classes together and one for each."""
    _, charts, missing = charts_by_class(report, _chart)
    lead = (
        "Precision is the share of detections that are right, recall the share of objects that are found, "
        "at IoU 0.5. The area below a class's line is its AP50; a line never rises, as in the COCO protocol."
    )
    return Section("Precision and recall", lead, [*charts, *missing])


def _chart(
    report: Report, title: str, networks: dict[str, Network], label: int | None, images: str
) -> Element:
    panel = Panel(Scale(0, 1, "recall"), Scale(0, 1, "precision"))
    dots, areas = [], []
    # AP50 is the mean over classes, not the area of all detections ranked together.
    area = "AP50" if label is not None else "area"
    for name, network in networks.items():
        judged = network.judged_of(label)
        curve = precision_at_recalls(judged)
        # What is never reached has no precision: the line ends there.
        reached = [(float(x), float(y)) for x, y in zip(RECALLS, curve, strict=True) if y > 0 or x == 0]
        panel.line(reached, report.style(name), f"{name}: {area} {100 * curve.mean():.1f}")
        areas.append(f"{name} {100 * curve.mean():.1f}")
        right, shown, objects = judged.at(network.threshold)
        if shown and objects:
            dots.append((name, network.threshold, right / objects, right / shown))
    for name, threshold, recall, precision in dots:
        text = f"{name} from {threshold:.2f}: precision {precision:.2f}, recall {recall:.2f}"
        panel.dots([(recall, precision)], report.style(name), [text])
    objects = int(next(iter(networks.values())).judged_of(label).objects.sum())
    note = f"{counted(objects, 'object')} in {images}"
    return figure(title, note, panel.svg(f"Precision over recall: {title}", f"{area}: {', '.join(areas)}"))
