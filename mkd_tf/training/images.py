"""The images of a run, and which of their labels each role may use."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.data.base import Dataset, Element
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import Boxes, ImageStore
from mkd_tf.data.pipeline.reuse import Reuse
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection.anchors import Anchors

REPEATS = 4
"""How often an unlabelled image comes in an epoch at most: few of them do not fill every batch."""


def unlabelled_per_batch(batch: int, share: float, labelled: int, unlabelled: int) -> int:
    """Returns how many images of a batch are unlabelled, where `share` of it is wanted.

    Both kinds have a place in it as long as `share` is between 0 and 1, and no
    unlabelled image comes more than `REPEATS` times in an epoch.

    Raises:
      MkdError: if a batch of one image is to hold two kinds.
    """
    if not unlabelled or share in (0.0, 1.0):
        return batch if unlabelled and share else 0
    if batch == 1:
        fail(
            "batch_size",
            expected="2 or more, for labelled and unlabelled images",
            got="1",
            do="Raise it, or set unlabelled_share to 0 or 1.",
        )
    most = int(REPEATS * batch * unlabelled / (labelled + unlabelled))
    return min(max(min(round(batch * share), most), 1), batch - 1)


def training_splits(dataset: Dataset) -> list[Sequence[Element]]:
    """Returns the splits whose images a run trains on, in the order of its store."""
    return [dataset.split(name) for name in ("train", "unlabelled") if name in dataset.split_names]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """The pool of images that a run trains on.

    Attributes:
      store: all of them: the train split, then the unlabelled one.
      all_labelled: indices of images with labels.
      labelled: those whose labels guide and student may use.
      unlabelled: the others, for distillation only.
      image_size: side of the largest input of any role, in pixels.
    """

    store: ImageStore
    all_labelled: np.ndarray
    labelled: np.ndarray
    unlabelled: np.ndarray
    image_size: int
    num_classes: int
    config: Config

    @classmethod
    def load(
        cls,
        dataset: Dataset,
        config: Config,
        on_progress: Callable[[int, int], None] | None = None,
        folder: Path | None = None,
    ) -> "Images":
        """Decodes the images and chooses the labelled ones, by the run's seed.

        Decoded images that memory may not hold are in a file in `folder`, by default the work directory.
        """
        splits = training_splits(dataset)
        size = max(config.roles.size_of(role) for role in ("teacher", "guide", "student"))
        data = config.data
        folder = folder or Path(config.run.workdir)
        store = ImageStore(splits, size, data.fit, data.cache_gb, on_progress, folder)
        known = np.flatnonzero(store.is_labelled)
        count = config.data.labelled or len(known)
        if count > len(known):
            fail(
                "labelled",
                expected=f"at most {len(known)}",
                got=str(count),
                do="Use 0 for all labelled images.",
            )
        chosen = np.sort(np.random.default_rng(config.run.seed).permutation(known)[:count])
        rest = np.setdiff1d(np.arange(len(store)), chosen)
        return cls(store, known, chosen, rest, size, len(dataset.class_names), config)

    def described(self, folder: Path, has_network: bool) -> list[str]:
        """Returns the lines about the images: how many, for whom, and where they are kept.

        Args:
          folder: that holds what does not fit into memory.
          has_network: whether a teacher's network is trained.
        """
        store, lines = self.store, []
        if not store.is_cached:
            kept = f"a file in {folder} holds them while the run lasts"
            then = kept if store.is_on_disk else "each is decoded again whenever it is used"
            lines.append(
                f"images would take {store.gigabytes:.1f} GiB of memory and may take "
                f"--cache_gb={self.config.data.cache_gb:g}: {then}"
            )
        share = f", {self.unlabelled_per_batch} of {self.config.optimizer.batch_size} in a batch"
        lines.append(
            f"images: {f'{len(self.teachers)} labelled for the teacher; ' if has_network else ''}"
            f"{len(self.labelled)} labelled and {len(self.unlabelled)} unlabelled for the student"
            + (share if len(self.unlabelled) else "")
        )
        return lines

    def streams(self, role: str) -> list[Stream]:
        """Returns where the images of a role's batches come from."""
        batch = self.config.optimizer.batch_size
        if role == "teacher":
            return [Stream(self.teachers, batch)]
        if role.endswith("_alone"):
            return [Stream(self.labelled, batch)]
        share = self.unlabelled_per_batch
        streams = [Stream(self.labelled, batch - share), Stream(self.unlabelled, share, labelled=False)]
        return [s for s in streams if s.per_batch]

    @property
    def unlabelled_per_batch(self) -> int:
        """How many unlabelled images are in a batch of guide and student."""
        wanted, batch = self.config.data.unlabelled_share, self.config.optimizer.batch_size
        return unlabelled_per_batch(batch, wanted, len(self.labelled), len(self.unlabelled))

    def steps_per_epoch(self, role: str) -> int:
        """Steps that make an epoch: as many for the student alone as for the distilled one."""
        all_known = len(self.labelled) + len(self.unlabelled)
        pool = len(self.teachers) if role == "teacher" else all_known
        return math.ceil(pool / self.config.optimizer.batch_size)

    @property
    def teachers(self) -> np.ndarray:
        """Indices of the images whose labels the teacher is trained on."""
        return self.all_labelled if self.config.roles.teacher_labels == "all" else self.labelled

    def batches(
        self,
        role: str,
        boxes: Boxes,
        anchors: Mapping[str, Anchors],
        first_step: int,
        steps: int,
        soft: TeacherPlaces | None = None,
        reuse: Reuse | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """Returns a part of a stage's training batches from `first_step` on, with targets for who learns."""
        return training_batches(
            self.store,
            boxes,
            self.streams(role),
            anchors,
            self.num_classes,
            self.config.augmentation,
            seed=self.config.run.seed,
            image_size=self.image_size,
            first_step=first_step,
            steps=steps,
            soft=soft,
            reuse=reuse,
            part=part,
        )
