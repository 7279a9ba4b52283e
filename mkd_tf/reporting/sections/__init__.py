"""The sections of a report, in their order on the page: one new section is one file and one line."""

from collections.abc import Callable

from mkd_tf.reporting.base import Report, Section
from mkd_tf.reporting.sections import (
    calibration,
    confusion,
    cost,
    curves,
    detections,
    f1,
    found,
    networks,
    origin,
    precision_recall,
    seeds,
    sweeps,
    verdicts,
)

SECTIONS: dict[str, Callable[[Report], Section]] = {
    "verdicts": verdicts.make,
    "seeds": seeds.make,
    "sweeps": sweeps.make,
    "accuracy": networks.make,
    "training": curves.make,
    "precision_recall": precision_recall.make,
    "f1": f1.make,
    "confusion": confusion.make,
    "calibration": calibration.make,
    "found": found.make,
    "detections": detections.make,
    "cost": cost.make,
    "origin": origin.make,
}
