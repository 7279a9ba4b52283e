"""The diagnosis as a table, as CSV and JSON, and as a plot."""

import csv
import io
import math
from typing import Any

from rich.table import Table

from mkd_tf.diagnosis.layer_errors import HEADS, Diagnosis, LayerError, decibels

TABLE_ROWS = 20
PLOT_ROWS = 30
# Distinct to colour-blind readers: Okabe and Ito, "Color Universal Design", 2008.
_SCORES, _BOXES, _ISOLATED, _ACCUMULATED = "#0072B2", "#E69F00", "#009E73", "#D55E00"


def _finite(value: float) -> float | None:
    # JSON has no infinity: a layer without an error has no ratio.
    return value if math.isfinite(value) else None


def as_row(error: LayerError) -> dict[str, Any]:
    """Returns the figures of a layer; None for infinite ones."""
    layer = error.layer
    return {
        "layer": layer.name,
        "operator": layer.operator,
        "hurt": _finite(error.hurt),
        **{head: _finite(getattr(error, head)) for head in HEADS},
        "isolated": _finite(error.isolated),
        "isolated_db": _finite(decibels(error.isolated)),
        "accumulated": _finite(error.accumulated),
        "accumulated_db": _finite(decibels(error.accumulated)),
        "step": layer.step,
        "zero_point": layer.zero_point,
        "tensor": layer.tensor,
    }


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Returns the measured part of a `schemas.DiagnosisFile`."""
    return {
        "images": diagnosis.images,
        "total": {head: _finite(x) for head, x in diagnosis.total.items()},
        "predicted": {head: _finite(x) for head, x in diagnosis.predicted.items()},
        "layers": [as_row(error) for error in diagnosis.layers],
    }


def as_csv(diagnosis: Diagnosis) -> str:
    """Returns a header and one line per layer, the worst first; infinite figures are empty."""
    rows = [as_row(error) for error in diagnosis.layers]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _percent(relative: float) -> str:
    return f"{100 * relative:.2f}" if math.isfinite(relative) else "-"


def _decibels(relative: float) -> str:
    return f"{decibels(relative):.1f}" if 0 < relative < math.inf else "-"


def as_table(diagnosis: Diagnosis, title: str, rows: int = TABLE_ROWS) -> Table:
    """Returns the worst layers, and in the last line the errors of the whole int8 file.

    Errors are relative RMS errors in percent, ratios are in dB.
    """
    left_out = len(diagnosis.layers) - rows
    caption = f"{left_out} more layers in the files" if left_out > 0 else None
    table = Table(
        title=title, title_justify="left", caption=caption, caption_justify="left", show_footer=True
    )
    total = diagnosis.total
    table.add_column("layer", "whole int8 file", no_wrap=True)
    for name, footer in (
        ("hurts", math.hypot(total["scores"], total["box_encodings"]) / math.sqrt(2)),
        ("scores", total["scores"]),
        ("boxes", total["box_encodings"]),
        ("logits", total["class_logits"]),
    ):
        table.add_column(f"{name}\n%", _percent(footer), justify="right", no_wrap=True)
    table.add_column("alone\ndB", justify="right", no_wrap=True)
    table.add_column("in file\ndB", justify="right", no_wrap=True)
    for e in diagnosis.layers[:rows]:
        outputs = (e.hurt, e.scores, e.box_encodings, e.class_logits)
        own = (_decibels(e.isolated), _decibels(e.accumulated))
        table.add_row(e.layer.name, *map(_percent, outputs), *own)
    return table


def plot(diagnosis: Diagnosis, title: str) -> bytes:
    """Returns a PNG: the effect of the worst layers on the outputs, and each layer's own SQNR."""
    # The figure alone: pyplot would choose a window system for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = diagnosis.layers[:PLOT_ROWS]
    places = list(range(len(shown)))
    figure = Figure(figsize=(11, 1.7 + 0.27 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    outputs, own = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for offset, name, head, color in (
        (-0.2, "scores", "scores", _SCORES),
        (0.2, "box encodings", "box_encodings", _BOXES),
    ):
        widths = [100 * (_finite(getattr(e, head)) or 0) for e in shown]
        outputs.barh([p + offset for p in places], widths, 0.38, color=color, label=name)
    outputs.set_yticks(places, [error.layer.name for error in shown])
    # The worst on top.
    outputs.set_ylim(len(shown) - 0.4, -0.6)
    outputs.set_xlabel("error of the outputs when this layer alone is int8, % RMS")
    for name, values, color, marker in (
        ("this layer alone", [e.isolated for e in shown], _ISOLATED, "o"),
        ("in the int8 file", [e.accumulated for e in shown], _ACCUMULATED, "D"),
    ):
        points = [(decibels(x), p) for x, p in zip(values, places, strict=True) if 0 < x < math.inf]
        if points:
            own.scatter(*zip(*points, strict=True), s=26, color=color, marker=marker, label=name)
    own.set_xlabel("SQNR of the layer's activation, dB (left is worse)")
    for axes in (outputs, own):
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right", framealpha=0.9)
        axes.spines[["top", "right"]].set_visible(False)
    total, count = diagnosis.total, len(diagnosis.layers)
    outputs.set_title(f"worst {len(shown)} of {count} layers", loc="left", fontsize=10)
    scores, boxes = _percent(total["scores"]), _percent(total["box_encodings"])
    own.set_title(f"whole int8 file: scores {scores} %, boxes {boxes} %", loc="left", fontsize=10)
    figure.suptitle(title, x=0.01, ha="left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
