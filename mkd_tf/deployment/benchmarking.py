"""The body of the program `benchmark`: exported files against each other, in turns, in one process."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mkd_tf.checks import check_positive
from mkd_tf.conversion.model_files import kind_of
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.data.image_files import fit_image, read_image
from mkd_tf.evaluation.cost import interleaved_ms

_RUNNERS: dict[str, type[TFLiteRunner] | type[OnnxRunner]] = {".tflite": TFLiteRunner, ".onnx": OnnxRunner}


def file_latencies(
    models: Sequence[str], image: np.ndarray, *, threads: int = 1, runs: int = 200
) -> dict[str, dict[str, Any]]:
    """Times exported files on one image.

    A time is that of the whole call: scaling of the image for a float file, network and,
    where it is in the file, non-maximum suppression, which depends on what there is to see.

    Args:
      models: paths, `.tflite` or `.onnx`.
      image: `[H, W, 3]` uint8; each file gets it stretched to its input.
      threads: of each.
      runs: calls of each, in turns of bursts.

    Returns:
      By path: `bytes`, `median_ms`, `min_ms`, and `speed`, how many times faster than the
      first it is, by the medians.

    Raises:
      MkdError: if a file cannot be read, or is of another kind.
    """
    check_positive("threads", threads)
    calls = {}
    for model in dict.fromkeys(models):
        kind = kind_of(model, _RUNNERS, do="Export the network first: python -m export.tflite.")
        runner = _RUNNERS[kind](model, threads=threads)
        fitted = fit_image(image, runner.image_size, "stretch")
        calls[model] = lambda runner=runner, fitted=fitted: runner.invoke(fitted)
    found = {}
    for model, times in interleaved_ms(calls, runs=runs).items():
        median = statistics.median(times)
        found[model] = {"bytes": Path(model).stat().st_size, "median_ms": median, "min_ms": min(times)}
    first = next(iter(found.values()))["median_ms"]
    return {model: entry | {"speed": first / entry["median_ms"]} for model, entry in found.items()}


def some_image(path: str, seed: int = 0) -> np.ndarray:
    """Returns the image in a file; for an empty path noise, `[320, 320, 3]` uint8.

    Raises:
      MkdError: if it cannot be read.
    """
    if path:
        return read_image(path)
    return np.random.default_rng(seed).integers(0, 256, (320, 320, 3), "uint8")


def latency_table(title: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Returns `file_latencies` as a table."""
    table = Table(title=title, title_justify="left", caption="suppression included where it is in the file")
    table.add_column("file", overflow="fold")
    for column in ("kB", "ms, median", "ms, least", "times as fast"):
        table.add_column(column, justify="right", no_wrap=True)
    for model, entry in entries.items():
        times = (f"{entry[key]:.2f}" for key in ("median_ms", "min_ms", "speed"))
        table.add_row(model, f"{entry['bytes'] / 1000:.1f}", *times)
    return table
