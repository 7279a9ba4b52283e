"""The body of the program `benchmark`: exported files against each other, in turns, in one process."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from mkd_tf.checks import fail
from mkd_tf.conversion.model_files import load_file_runner
from mkd_tf.data.image_files import fit_image, read_image
from mkd_tf.evaluation.cost import interleaved_ms
from mkd_tf.schemas.deployment import Latency


def file_latencies(
    models: Sequence[str], image: np.ndarray, *, threads: int = 1, runs: int = 200
) -> dict[str, Latency]:
    """Times exported files on one image.

    A time is that of the whole call: scaling of the image for a float file, network and,
    where it is in the file, non-maximum suppression, whose time depends on the image.

    Args:
      models: paths of exported files.
      image: `[H, W, 3]` uint8; each file gets it stretched to its input.
      threads: of each.
      runs: calls of each, in turns of bursts.

    Returns:
      By path: `bytes`, `median_ms`, `min_ms`, and `speed`, the median of the first file
      divided by this one's.

    Raises:
      MkdError: if a file cannot be read, or is of another kind.
    """
    if not models:
        fail("benchmark", expected="one or several files", got="none", do="Name exported files.")
    calls = {}
    for model in dict.fromkeys(models):
        runner = load_file_runner(model, threads)
        fitted = fit_image(image, runner.image_size, "stretch")
        calls[model] = lambda runner=runner, fitted=fitted: runner.invoke(fitted)
    times = interleaved_ms(calls, runs=runs)
    medians = {model: statistics.median(values) for model, values in times.items()}
    first = next(iter(medians.values()))
    return {
        model: {
            "bytes": Path(model).stat().st_size,
            "median_ms": median,
            "min_ms": min(times[model]),
            "speed": first / median,
        }
        for model, median in medians.items()
    }


def some_image(path: str) -> np.ndarray:
    """Returns the image in a file; for an empty path noise, `[320, 320, 3]` uint8.

    Raises:
      MkdError: if it cannot be read.
    """
    return read_image(path) if path else np.random.default_rng(0).integers(0, 256, (320, 320, 3), "uint8")


def latency_table(title: str, entries: Mapping[str, Latency]) -> Table:
    """Returns `file_latencies` as a table."""
    table = Table(title=title, title_justify="left", caption="suppression included where it is in the file")
    table.add_column("file", overflow="fold")
    for column in ("kB", "ms, median", "ms, least", "times as fast"):
        table.add_column(column, justify="right", no_wrap=True)
    for model, entry in entries.items():
        times = (entry["median_ms"], entry["min_ms"], entry["speed"])
        table.add_row(model, f"{entry['bytes'] / 1000:.1f}", *(f"{x:.2f}" for x in times))
    return table
