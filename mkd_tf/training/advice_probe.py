"""Measures one training step: a network that is thrown away learns for some steps on a part of the data."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mkd_tf.config import Config
from mkd_tf.data.base import AnnotatedSplit, Dataset, Element, annotation_of, image_of
from mkd_tf.evaluation.cost import macs
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.training.advice_times import FORWARD_PASSES, Load, Speed
from mkd_tf.training.callbacks import WeightAveraging
from mkd_tf.training.images import Images
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import Stage
from mkd_tf.training.stage import JIT

STEPS = 8
_IMAGES = 64
_BATCHES = 5


class Part(Dataset):
    """At most `count` elements of each split of a data set, at equal distances."""

    def __init__(self, dataset: Dataset, count: int):
        self.name, self.class_names = dataset.name, dataset.class_names
        self.split_names = dataset.split_names
        self._splits = {name: _Some(dataset.split(name), count) for name in dataset.split_names}


class _Some(AnnotatedSplit):
    def __init__(self, split: Sequence[Element], count: int):
        self._split = split
        self._chosen = np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int).tolist()

    def __len__(self) -> int:
        return len(self._chosen)

    def annotation(self, index: int) -> Element:
        return annotation_of(self._split, self._chosen[index])

    def image(self, index: int) -> np.ndarray:
        return image_of(self._split, self._chosen[index])


class Times(keras.callbacks.Callback):
    """Keeps when each step ended, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.ends.append(time.monotonic())

    @property
    def step_s(self) -> float:
        """The median time of a step without the first one, which includes tracing."""
        return float(np.median(np.diff(self.ends))) if len(self.ends) > 1 else math.nan


def pools_of(config: Config, dataset: Dataset, roles: Sequence[str]) -> dict[str, int]:
    """Returns how many images make an epoch of each role."""
    labelled = len(dataset.split("train"))
    unlabelled = len(dataset.split("unlabelled")) if "unlabelled" in dataset.split_names else 0
    own = min(config.data.labelled or labelled, labelled)
    teachers = labelled if config.roles.teacher_labels == "all" else own
    return {role: teachers if role == "teacher" else labelled + unlabelled for role in roles}


def load_of(config: Config, dataset: Dataset, networks: Networks, stages: Sequence[Stage]) -> Load:
    """Returns what the stages of a run work on; their networks are built to count multiply-adds."""
    specs = {stage.role: stage.network for stage in stages if not stage.method}
    for stage in stages:
        specs |= {"guide": stage.guide} if stage.guide else {}
    counts = {role: float(macs(networks.build(role, spec).inference())) for role, spec in specs.items()}
    validation, test = (
        len(dataset.split(s)) if s in dataset.split_names else 0 for s in ("validation", "test")
    )
    pools = pools_of(config, dataset, list(specs))
    return Load(counts, pools, validation, test, config.optimizer.batch_size, config.run.eval_every)


def probe(
    config: Config, dataset: Dataset, networks: Networks, stage: Stage, counts: Mapping[str, float]
) -> Speed:
    """Measures the steps of a stage whose network learns from labels alone.

    Args:
      config: of the run.
      dataset: its images, of which some are read.
      networks: what builds the network.
      stage: the first that trains.
      counts: multiply-adds of the network of each role for one image.
    """
    alone = dataclasses.replace(stage, strategies="", sources=(), guide="")
    batch = config.optimizer.batch_size
    part = Part(dataset, max(_IMAGES, batch))
    share = len(part.split("train")) / len(dataset.split("train"))
    labelled = math.ceil(config.data.labelled * share)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, labelled=labelled))
    began = time.monotonic()
    images = Images.load(part, config)
    read_s = (time.monotonic() - began) / len(images.store)

    began = time.monotonic()
    network, averaged = (networks.build(stage.role, stage.network) for _ in range(2))
    distiller = networks.distiller(alone, network, {}, STEPS)
    distiller.compile(
        optimizer=keras.optimizers.AdamW(1e-4, global_clipnorm=config.optimizer.clipnorm),
        jit_compile=JIT[config.run.jit_compile],
    )
    anchors = {"student": network.anchors}
    batches = images.batches(stage.role, images.store.truth, anchors, 0, STEPS + _BATCHES)
    times = Times()
    distiller.fit(
        batches.take(STEPS),
        epochs=1,
        steps_per_epoch=STEPS,
        callbacks=[WeightAveraging(network, averaged, 0.99), times],
        verbose=0,
    )
    start_s = times.ends[0] - began
    ends = [time.monotonic() for _ in batches]
    batch_s = min(float(np.median(np.diff(ends))), 0.5 * times.step_s)

    began = time.monotonic()
    runner = KerasRunner(network)
    runner(np.zeros((batch, network.image_size, network.image_size, 3), "uint8"))
    trace_s = time.monotonic() - began
    compute = max(times.step_s - batch_s, 1e-6)
    mac_s = compute / (FORWARD_PASSES * counts[stage.role] * batch)
    return Speed(mac_s, batch_s, start_s, trace_s, read_s, batch)
