"""The body of the program `benchmark`: exported files against each other, in turns, in one process."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mkd_tf.checks import fail
from mkd_tf.config import DataConfig
from mkd_tf.conversion.model_files import load_file_runner
from mkd_tf.data import open_dataset
from mkd_tf.data.image_files import fit_image, read_image
from mkd_tf.evaluation.cost import interleaved_ms
from mkd_tf.evaluation.predicting import find_images
from mkd_tf.schemas.deployment import Latency

IMAGES = 32
"""The most that files are timed on: the time of suppression differs from image to image."""


def file_latencies(
    models: Sequence[str], images: Sequence[np.ndarray], *, threads: int = 1, runs: int = 200
) -> dict[str, Latency]:
    """Times exported files on the same images, which follow each other.

    A time is that of the whole call: scaling of the image for a float file, network and,
    where it is in the file, non-maximum suppression, whose time depends on the image.

    Args:
      models: paths of exported files.
      images: each `[H, W, 3]` uint8; a file gets them as its network was trained to, or stretched.
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
        fitted = [fit_image(image, runner.image_size, runner.fit or "stretch") for image in images]
        turns = itertools.cycle(fitted)
        calls[model] = lambda runner=runner, turns=turns: runner.invoke(next(turns))
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


def _spread(found: Sequence[Any]) -> list[Any]:
    """Returns at most `IMAGES`, spread evenly."""
    places = np.linspace(0, len(found) - 1, min(len(found), IMAGES)).astype(int)
    return [found[place] for place in places]


def some_images(path: str) -> list[np.ndarray]:
    """Returns the image in a file, or some of a folder's; for an empty path noise, `[320, 320, 3]` uint8.

    Raises:
      MkdError: if there is none, or one cannot be read.
    """
    if not path:
        return [np.random.default_rng(0).integers(0, 256, (320, 320, 3), "uint8")]
    return [read_image(p) for p in _spread(find_images(path))]


def run_images(data: DataConfig, split: str = "test") -> list[np.ndarray]:
    """Returns some images of a run's data set.

    Raises:
      MkdError: if it has no such split, or no image in it.
    """
    elements = open_dataset(data).split(split)
    if not len(elements):
        fail(f"split {split}", expected="images", got="none", do="Give --input=FOLDER with images.")
    return [elements[int(place)]["image"] for place in _spread(range(len(elements)))]


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
