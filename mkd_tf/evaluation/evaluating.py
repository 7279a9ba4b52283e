"""The body of the program `evaluate`: one model on one split, with a table for people."""

from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mkd_tf.data.base import Dataset
from mkd_tf.evaluation.coco import METRICS
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.progress import bar
from mkd_tf.evaluation.runners import Runner
from mkd_tf.evaluation.voc import VOC_METRICS
from mkd_tf.schemas.training import Metrics


def evaluate_model(runner: Runner, dataset: Dataset, split: str, fit: str, console: Console) -> Metrics:
    """Returns the COCO and VOC metrics of a detector on a split, on original pixels.

    Raises:
      MkdError: if the split is not there, or its classes are not the detector's.
    """
    images = dataset.split(split)
    with Progress(console=console, transient=True) as progress:
        reading, detecting = (bar(progress, text, len(images)) for text in ("reading", "detecting"))
        ready = EvaluationSet(images, runner.image_size, fit, reading)
        return ready.evaluate(runner, dataset.class_names, detecting)


def print_metrics(metrics: Metrics, title: str, console: Console) -> None:
    """Prints AP in percent, overall, per size and per class."""
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("percent", justify="right")
    values: dict[str, Any] = dict(metrics)
    rows = {name: values[name] for name in (*METRICS, *VOC_METRICS)}
    for name, value in (rows | {f"AP of {k}": v for k, v in metrics["per_class"].items()}).items():
        table.add_row(name, "–" if value is None else f"{value:.1f}")
    console.print(table)
