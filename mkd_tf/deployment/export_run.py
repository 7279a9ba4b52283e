"""The loop of every export: convert, run, measure, judge, and only then record."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from mkd_tf.checks import fail
from mkd_tf.conversion.base import Format
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.deployment.context import ExportContext
from mkd_tf.deployment.manifest import record
from mkd_tf.deployment.measuring import Measurement, figures, latency, loses_too_much, refuse_rejected
from mkd_tf.deployment.shipping import LARGEST_COST, Found, shipped
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.progress import bar
from mkd_tf.version import __version__


def _finished(
    context: ExportContext, form: Format, measured: dict[str, Any], sets: Sequence[Found]
) -> tuple[FileFacts, dict[str, Any]]:
    """Returns what the file that ships says of itself, and what the manifest says of its thresholds."""
    point, suppression = measured["recommended_score_threshold"], form.suppression()
    facts = FileFacts(
        version=__version__,
        source_sha256=context.origin["sha256"],
        fit=context.fit,
        labels=context.labels,
        operating_point=point,
        image_size=context.detector.image_size,
    )
    if suppression is None:
        return facts, {}
    chosen = shipped(suppression, sets, context.detector.class_names, point)
    threshold, count = chosen["score_threshold"], chosen["max_detections"]
    if chosen["cost"] > LARGEST_COST:
        say(
            context.console,
            f"a score threshold of {threshold:g} and {count} detections in the file cost"
            f" {chosen['cost']:.2f} AP; see --score_threshold and --max_detections",
        )
    facts = dataclasses.replace(facts, score_threshold=threshold, max_detections=count)
    return facts, {"shipped": chosen}


def export_files(context: ExportContext, formats: Sequence[Format]) -> dict[str, dict[str, Any]]:
    """Exports a detector into `workdir/export`, one file for each of `formats`.

    Args:
      context: the detector, its data set and the run-wide options.
      formats: the files wanted.

    Returns:
      What was measured, by file name.

    Raises:
      MkdError: if a package is missing or the model cannot be read or converted, when
        nothing is changed; or if a file lost more AP than allowed, when it is left as
        `<name>.rejected`.
    """
    options, entries = context.options, {}
    names = [f"{options.role}_{form.suffix()}" for form in formats]
    if len(set(names)) < len(names):
        fail("export", expected="files of different names", got=", ".join(names), do="Export them apart.")
    for form in formats:
        # Before the minutes that it would be missed after.
        form.require()
    detector, labels = context.detector, context.labels
    with Progress(console=context.console, transient=True) as progress:
        measurement = Measurement(detector, context.dataset, options.split, progress)
        for form, name in zip(formats, names, strict=True):
            calibration = context.calibration if form.needs_calibration(detector) else None
            count = None if calibration is None else len(calibration.images)
            shown = bar(progress, f"converting to {name}", count)
            content = form.convert(detector, calibration, labels, context.fit, shown)
            shown(1, 1)
            measured, sets = figures(form, content, measurement, context.fit)
            facts, chosen = _finished(context, form, measured, sets)
            content = form.finish(content, facts)
            entry = {
                **context.facts(form, calibration, form.packages),
                **form.report(content),
                **measured,
                **chosen,
                **latency(form, content, measurement, context.fit),
            }
            companions = form.companions(name, detector, content)
            verdict = "rejected" if loses_too_much(entry, options.max_ap_drop) else "accepted"
            path, kept = record(
                Path(options.workdir), name, content, labels, entry, verdict, companions=companions
            )
            entries[path.name] = {**kept, "score_error": entry["score_error"]}
    refuse_rejected(options.workdir, entries, options.max_ap_drop)
    return entries
