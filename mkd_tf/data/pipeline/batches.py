"""Training batches, each a function of the step's number alone.

A batch is drawn from one or several streams (labelled and unlabelled images). A stream
goes through a new permutation of its images in each epoch; the permutation depends on
(seed, epoch), the augmentation on (seed, epoch, example), mosaic and mixup on (seed,
step). With `reuse` an image's augmentations come back. To continue from step 1,000, only
the number 1,000 has to be restored.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import Element
from mkd_tf.data.pipeline import augmentation, mixing
from mkd_tf.data.pipeline.image_store import IGNORED, Boxes, ImageStore
from mkd_tf.data.pipeline.reuse import Reuse
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import Anchors

# Makes the draws of mosaic and mixup differ from those of order and augmentation.
_MIXING_SEED = 104_729


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """`per_batch` images of every batch come from these `indices` of the store.

    `labelled` is whether they have labels for the role that learns; `mixed_images` selects by it.
    """

    indices: np.ndarray
    per_batch: int
    labelled: bool = True


class _Order:
    """The order in which a stream goes through its images: a permutation for each epoch.

    Each is made once and kept while steps use it: making it takes as long as the set is large.
    """

    def __init__(self, indices: np.ndarray, take: int, seed: int):
        self._indices, self._take, self._seed = indices, take, seed
        # Of the epochs that a step touches, twice: two steps are made at a time.
        self._permutation = functools.lru_cache(2 * (take // len(indices) + 2))(self._make)

    def _make(self, epoch: int) -> np.ndarray:
        with tf.device("CPU"):
            key = tf.constant([self._seed, epoch], tf.int64)
            return tf.random.experimental.stateless_shuffle(self._indices, seed=key).numpy()

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of the images that a step takes, and their epochs: two `[take]` int64."""
        epochs, places = np.divmod(step * self._take + np.arange(self._take), len(self._indices))
        found = [self._permutation(int(epoch))[at] for epoch, at in zip(epochs, places, strict=True)]
        return np.array(found, "int64"), epochs


def _mixed(
    examples: mixing.Examples,
    streams: Sequence[Stream],
    counts: Sequence[tuple[int, int]],
    seed: tf.Tensor,
    cut_weight: float,
) -> mixing.Examples:
    """Mixes each stream's part of a batch separately; without mixing only clips the boxes.

    Boxes are padded to the image with the most boxes in the batch, not in the store.
    """
    if not any(map(any, counts)):
        return mixing.join([mixing.in_view(examples, cut_weight)])
    groups, start = [], 0
    for i, (stream, (mosaics, mixups)) in enumerate(zip(streams, counts, strict=True)):
        part = mixing.Examples(*(x[start : start + stream.per_batch] for x in examples))
        own = seed + tf.constant([_MIXING_SEED + 7919 * i, 0], tf.int64)
        groups += mixing.mix(part, mosaics, mixups, own, cut_weight)
        start += stream.per_batch
    return mixing.join(groups)


def training_batches(
    store: ImageStore,
    boxes: Boxes,
    streams: Sequence[Stream],
    anchors: Mapping[str, Anchors],
    num_classes: int,
    config: AugmentationConfig,
    *,
    seed: int,
    image_size: int,
    first_step: int,
    steps: int,
    soft: TeacherPlaces | None = None,
    reuse: Reuse | None = None,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns the batches of steps `first_step` to `steps - 1`.

    Args:
      store: the images.
      boxes: of every image in the store: its labels, or a teacher's boxes with weights.
      streams: the sources of a batch's images.
      anchors: of each role that learns.
      num_classes: C.
      config, seed: of the augmentation, the seed also of the order.
      image_size: side of the largest input.
      first_step, steps: number of the first batch, and that after the last.
      soft: what a teacher that only answers with detections says of every image, if there is one.
      reuse: which augmentations come back, without mosaic and mixup; None: none does.
      part: i of n: each batch is the i-th of n equal parts of what it is for (0, 1).

    Raises:
      MkdError: if a stream is empty, or has too few images per batch for mosaic or mixup.

    Returns:
      Batches `{"images": [B, S, S, 3] float32, "targets": {role: {...}}}`, a role's
      targets being those of `targets.assign`, `known` `[B]` and `labelled` `[B]`, 1 for the
      images of a labelled stream; and, if any image has an ignored area, `ignored` `[B, N]` of
      `targets.ignored`. With `soft` also `answers`, `{"teacher": ...}`, the outputs of
      `TeacherPlaces.split`; with `reuse` also `views` `[B, 3]` int64: the image's number, the slot of
      its augmentation and the generation of that.
    """
    for stream in streams:
        if not len(stream.indices) or stream.per_batch < 1:
            fail("stream", expected="images to draw", got="none", do="Check labelled and unlabelled_share.")
    counts = [mixing.mixed_counts(config, s.labelled, s.per_batch) for s in streams]
    side = store.images(np.array([0])).shape[1]
    # As tensors they are inputs of the graph; arrays would be copied into it at each use.
    if soft is not None:
        boxes, profiles = soft.beside(boxes), tf.constant(soft.profiles)
    all_boxes, all_labels = tf.constant(boxes.boxes), tf.constant(boxes.labels)
    all_weights, all_known = tf.constant(boxes.weights), tf.constant(boxes.known)
    orders = [
        _Order(np.asarray(s.indices, "int64"), s.per_batch, seed + 7919 * i) for i, s in enumerate(streams)
    ]
    total = sum(s.per_batch for s in streams)
    own = slice(total * part[0] // part[1], total * (part[0] + 1) // part[1])
    # Mixed images are made of others of the batch, which then has to be whole until they are.
    is_mixed = any(map(any, counts))
    taken = slice(0, total) if is_mixed else own
    labelled = tf.constant([float(s.labelled) for s in streams for _ in range(s.per_batch)])[own]
    # Without ignored areas, neither the batch nor the step has entries for them.
    cut_weight = IGNORED if config.cut_objects == "unknown" else 0.0
    has_ignored = cut_weight < 0 or bool((boxes.weights < 0).any())

    # Nothing here branches on a tensor, and converting what branches on none takes half of the tracing.
    @tf.autograph.experimental.do_not_convert
    def make(step: tf.Tensor) -> dict[str, Any]:
        walks = [tf.numpy_function(order, [step], (tf.int64, tf.int64)) for order in orders]
        whole = (tf.ensure_shape(tf.concat(x, axis=0), [total]) for x in zip(*walks, strict=True))
        indices, epochs = (x[taken] for x in whole)
        more = {}
        if reuse is not None:
            more = {"views": tf.stack([indices, reuse.slot(epochs), reuse.generation(epochs)], axis=1)}
            epochs = reuse.variant(epochs)
        keys = tf.stack(
            [tf.fill(tf.shape(indices), tf.constant(seed, tf.int64)), epochs * len(store) + indices], 1
        )
        images = tf.numpy_function(store.images, [indices], tf.uint8)
        images = tf.ensure_shape(images, [taken.stop - taken.start, side, side, 3])
        images, moved = augmentation.augment(
            images, tf.gather(all_boxes, indices), augmentation.draw(keys), config, image_size
        )
        rest = (tf.gather(x, indices) for x in (all_labels, all_weights, all_known))
        examples = _mixed(
            mixing.Examples(images, moved, *rest),
            streams,
            counts,
            tf.stack([tf.constant(seed, tf.int64), step]),
            cut_weight,
        )
        images, moved, labels, weights, known = (x[own] for x in examples) if is_mixed else examples
        if soft is not None:
            weights, outputs = soft.split(anchors, moved, labels, weights, image_size, profiles)
            more |= {"answers": {"teacher": outputs}}
        assigned = {}
        for role, grid in anchors.items():
            scaled = moved * (grid.image_size / image_size)
            found = target_math.assign(grid, scaled, labels, weights, num_classes)
            found |= {"known": known, "labelled": labelled}
            if has_ignored:
                found["ignored"] = target_math.ignored(grid, scaled, weights, found["weights"])
            assigned[role] = found
        return {"images": images, "targets": assigned} | more

    numbers = tf.data.Dataset.range(first_step, steps)
    return numbers.map(make, num_parallel_calls=2, deterministic=True).prefetch(4)


def batches_of(
    split: Sequence[Element],
    anchors: Anchors,
    num_classes: int,
    *,
    steps: int,
    batch_size: int = 16,
    image_size: int | None = None,
    augmentation_config: AugmentationConfig | None = None,
    seed: int = 0,
    cache_gb: float = 1.0,
    folder: str | Path | None = None,
) -> tf.data.Dataset:
    """Returns batches of a labelled split for `Distiller.fit`, for scripts of users.

    Args:
      split: elements as in `data.base`, such as `dataset.split("train")`.
      anchors: of the detector that learns.
      num_classes: C.
      steps: how many batches; give `fit` the same number of steps in total.
      image_size: side of the largest input; None for that of `anchors`.
      augmentation_config: None for the defaults.
      seed: of order and augmentation.
      cache_gb: how much memory decoded images may take.
      folder: on a disk that may hold those of a larger set (no file is left there); None
        decodes them at each use.

    Raises:
      MkdError: if the config mixes unlabelled images: all are labelled here.

    Example:
      >>> import numpy as np, mkd_tf
      >>> from mkd_tf.data.base import element
      >>> box, label = np.array([[0.1, 0.2, 0.6, 0.7]]), np.array([1])
      >>> split = [element(np.zeros((64, 64, 3), "uint8"), "a", box, label)] * 2
      >>> batches = mkd_tf.batches_of(split, mkd_tf.grid_anchors(64), num_classes=2, steps=1, batch_size=2)
      >>> batch = next(iter(batches))
      >>> batch["images"].shape.as_list(), sorted(batch["targets"])
      ([2, 64, 64, 3], ['student'])
    """
    changes = augmentation_config or AugmentationConfig()
    mixing.check_mixing(changes, [(True, batch_size)])
    size = image_size or anchors.image_size
    store = ImageStore([split], size, "stretch", cache_gb, folder=None if folder is None else Path(folder))
    return training_batches(
        store,
        store.truth,
        [Stream(np.flatnonzero(store.is_labelled), batch_size)],
        {"student": anchors},
        num_classes,
        changes,
        seed=seed,
        image_size=size,
        first_step=0,
        steps=steps,
    )
