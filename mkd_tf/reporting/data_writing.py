"""Writes the report of a data set: `data.json`, `data.html`, and with a run the review of its labels."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mkd_tf import schemas
from mkd_tf.config import DataConfig
from mkd_tf.data.base import Dataset
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.evaluation.progress import bar
from mkd_tf.files import write_bytes, write_json
from mkd_tf.inspection.inspecting import inspect
from mkd_tf.inspection.review_files import coco_review
from mkd_tf.inspection.reviewing import review
from mkd_tf.reporting.data_page import data_page
from mkd_tf.schemas.inspection import InspectionFile, ReviewFile


def write_inspection(
    folder: Path,
    dataset: Dataset,
    data: DataConfig,
    image_size: int,
    *,
    command: str = "",
    workdir: str = "",
    copies: bool = True,
    review_images: int = 0,
    console: Console | None = None,
) -> Path:
    """Inspects a data set and writes the report into `folder`; returns the path of the page.

    Args:
      folder: made if missing.
      dataset: the data set.
      data: the options that it was opened with.
      image_size: side of the network's input in pixels.
      command: how the program was called.
      workdir: of a finished run, whose networks review the labels; empty for none.
      copies: whether to look for images that resemble each other.
      review_images: images of each split that networks look at, at most; 0 for none.
      console: where progress is shown.
    """
    console = console or Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        shown = bar(progress, "reading")
        found = inspect(
            dataset, data.dataset, grid_anchors(image_size), data.fit, copies=copies, on_progress=shown
        )
        reviewed = None
        if workdir and review_images:
            given = dataset, data.dataset, workdir, data.fit, review_images
            reviewed = review(*given, lambda text: bar(progress, text))
    folder.mkdir(parents=True, exist_ok=True)
    schemas.write(folder / "data.json", found.record, InspectionFile)
    if reviewed is not None:
        schemas.write(folder / "review.json", reviewed, ReviewFile)
        write_json(folder / "review_coco.json", coco_review(reviewed, dataset))
    path = folder / "data.html"
    # A file's name may hold bytes that are no text.
    write_bytes(path, data_page(found, dataset, command, reviewed).encode("utf-8", "replace"))
    return path
