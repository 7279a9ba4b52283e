"""The confusion matrix of each network at its own operating point, background included."""

import numpy as np

from mkd_tf.reporting.base import Report, Section, networks_of
from mkd_tf.reporting.judging import confusion
from mkd_tf.reporting.markup import Element, node
from mkd_tf.reporting.tables import Table

MOST = 16
BACKGROUND, OTHERS = "background", "other classes"


def make(report: Report) -> Section:
    """Returns a table for each network; that of the student is open."""
    measured, networks, images = networks_of(report)
    classes, count = measured.classes_by_size, len(measured.class_names)
    # Classes without an object may still be detected: they go into the last row with the rare ones.
    kept = sorted(classes[:MOST]) if count > MOST else list(range(count))
    names = [measured.class_names[c] for c in kept]
    body: list[Element] = []
    first = "student" if "student" in networks else list(networks)[-1]
    for name, network in networks.items():
        found = confusion(measured.truth, network.detections, network.threshold, count)
        table = _table(
            f"{name}, from score {network.threshold:.2f} ({network.point}); {images}", found, kept, names
        )
        opened = {"open": ""} if name == first else {}
        body.append(node("details", node("summary", name), table.html(), **opened))
    lead = (
        "Rows are the true classes, columns what was detected there. A detection takes the object that it "
        "overlaps most, by an IoU of at least 0.5, whatever its class. The last column has objects that were "
        "missed, the last row detections where no object is. Shades are shares of a row."
    )
    return Section("Confusion", lead, body)


def folded(found: np.ndarray, kept: list[int]) -> np.ndarray:
    """Returns the matrix of the kept classes, the sum of the others if there are any, and background."""
    count = len(found) - 1
    others = [c for c in range(count) if c not in kept]
    groups = [[c] for c in kept] + ([others] if others else []) + [[count]]
    return np.array([[found[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])


def _table(caption: str, found: np.ndarray, kept: list[int], names: list[str]) -> Table:
    matrix = folded(found, kept)
    titles = [*names, *([OTHERS] if len(matrix) > len(names) + 1 else []), BACKGROUND]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [
        [title, *("·" if not value else f"{value:,}" for value in row)]
        for title, row in zip(titles, matrix.tolist(), strict=True)
    ]
    return Table(
        f"Objects and detections by class: {caption}",
        ["true \\ detected", *titles],
        rows,
        shade=lambda row, column: float(shares[row, column - 1]),
        style="confusion",
    )
