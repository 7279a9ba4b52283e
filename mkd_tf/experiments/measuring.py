"""Finished cells are measured once more, image by image; their parameters go to TensorBoard."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams  # type: ignore[import-untyped]

from mkd_tf import import_public
from mkd_tf.config import Config
from mkd_tf.data import open_dataset
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.evaluator import EvaluationSet
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.experiments.grid import Cell
from mkd_tf.experiments.matches import average_precision
from mkd_tf.experiments.matching import match_all
from mkd_tf.experiments.summary import MATCHES
from mkd_tf.training.event_files import EventFile


def write_hparams(folder: Path, parameters: dict[str, str | int], ap: float) -> None:
    """Writes what TensorBoard's HParams page shows of one cell, over what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    file = EventFile(folder)
    file.summary(0, hparams.hparams_pb(dict(parameters), trial_id=folder.name))
    file.scalars(0, {"test/AP": ap})
    file.close()


def measure(
    root: Path,
    cells: Sequence[Cell],
    arm_flags: Callable[[str], dict[str, str]],
    config_of: Callable[[str], Config],
    report: Callable[[], None] = lambda: None,
) -> None:
    """Writes the matches of finished cells; those that have them are left alone.

    Args:
      root: folder of the ablation.
      cells: finished ones.
      arm_flags: returns the flags that an arm adds.
      config_of: returns the configuration of a work directory.
      report: called after each cell.

    Raises:
      MkdError: if a data set or a network cannot be read.
    """
    import_public()
    ready: dict[tuple, tuple[EvaluationSet, int]] = {}
    for cell in cells:
        folder = root / cell.job.name
        if not (folder / MATCHES).exists():
            config = config_of(str(folder)).data
            detector = load_detector(folder / "student" / "final.keras")
            key = (config, detector.image_size)
            if key not in ready:
                dataset = open_dataset(config)
                split = EvaluationSet(dataset.split("test"), detector.image_size, config.fit)
                # One at a time: the images of a split may be large.
                ready = {key: (split, len(dataset.class_names))}
            split, classes = ready[key]
            matches = match_all(split.truth, split.detections(KerasRunner(detector)), classes)
            ap = float(average_precision(matches, tf.ones([1, len(split)]).numpy())[0])
            about: dict[str, str | int] = {
                "arm": cell.arm,
                "dataset": cell.dataset,
                "network": cell.network,
                "seed": cell.seed,
            }
            place = root / "hparams" / "-".join(str(value) for value in about.values())
            write_hparams(place, {**about, **arm_flags(cell.arm)}, ap)
            matches.save(folder / MATCHES)
        report()
