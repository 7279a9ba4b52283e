"""Training batches, each a function of the step's number alone.

A batch is drawn from one or several streams (labelled and unlabelled images).
A stream walks through a fresh permutation of its images in each epoch; the
permutation follows from (seed, epoch), the augmentation from (seed, epoch,
example), mosaic and mixup from (seed, step). Nothing has to be restored to go on
from step 1,000 but the number 1,000.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import Element
from mkd_tf.data.pipeline import augmentation, mixing
from mkd_tf.data.pipeline.image_store import Boxes, ImageStore
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import Anchors

# Sets the draws of mosaic and mixup apart from those of order and augmentation.
_MIXING_SEED = 104_729


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """`per_batch` images of every batch come from these `indices` of the store.

    `labelled` says what they are to the role that learns: `mixed_images` goes by it.
    """

    indices: np.ndarray
    per_batch: int
    labelled: bool = True


def _walk(indices: tf.Tensor, take: int, step: tf.Tensor, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which of a stream's images a step takes, and in which epoch: two `[take]` int64."""
    count = len(indices)
    position = step * take + tf.range(take, dtype=tf.int64)
    epochs = position // count
    # A batch touches at most this many epochs: only their permutations are made.
    touched = (take - 1) // count + 2
    orders = [
        tf.random.experimental.stateless_shuffle(
            indices, seed=tf.stack([tf.constant(seed, tf.int64), epochs[0] + k])
        )
        for k in range(touched)
    ]
    flat = tf.concat(orders, axis=0)
    return tf.gather(flat, position - epochs[0] * count), epochs


def _mixed(
    examples: mixing.Examples, streams: Sequence[Stream], counts: Sequence[tuple[int, int]], seed: tf.Tensor
) -> mixing.Examples:
    """Mixes each stream's part of a batch on its own; with nothing to mix, boxes are clipped and no more.

    Padding is that of the batch, not of the fullest image in the store.
    """
    if not any(map(any, counts)):
        return mixing.join([mixing.in_view(examples)])
    groups, start = [], 0
    for i, (stream, (mosaics, mixups)) in enumerate(zip(streams, counts, strict=True)):
        part = mixing.Examples(*(x[start : start + stream.per_batch] for x in examples))
        groups += mixing.mix(
            part, mosaics, mixups, seed + tf.constant([_MIXING_SEED + 7919 * i, 0], tf.int64)
        )
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
) -> tf.data.Dataset:
    """Returns the batches of steps `first_step` to `steps - 1`.

    Args:
      store: the images.
      boxes: of every image in the store: the truth, or a teacher's boxes with weights.
      streams: where a batch's images come from.
      anchors: of each role that learns.
      num_classes: C.
      config: of the augmentation.
      seed: of order and augmentation.
      image_size: side of the largest input.
      first_step: where to begin.
      steps: where to end.

    Raises:
      MkdError: if a stream is empty, or has too few images per batch for mosaic or mixup.

    Returns:
      Batches `{"images": [B, S, S, 3] float32, "targets": {role: {...}}}`, a role's
      targets being those of `targets.assign` and `known` `[B]`; and, if any image has a
      crowd, `ignored` `[B, N]` of `targets.ignored`.
    """
    for stream in streams:
        if not len(stream.indices) or stream.per_batch < 1:
            fail("stream", expected="images to draw", got="none", do="Check labelled and unlabelled_share.")
    counts = [mixing.mixed_counts(config, s.labelled, s.per_batch) for s in streams]
    side = store.images(np.array([0])).shape[1]
    # Tensors made here are handed to the graph; arrays would be copied into it, many times over.
    all_boxes, all_labels = tf.constant(boxes.boxes), tf.constant(boxes.labels)
    all_weights, all_known = tf.constant(boxes.weights), tf.constant(boxes.known)
    orders = [tf.constant(s.indices, tf.int64) for s in streams]
    # Where there are none, neither the batch nor the step holds anything of them.
    has_crowds = bool((boxes.weights < 0).any())

    def make(step: tf.Tensor) -> dict:
        walks = [
            _walk(order, s.per_batch, step, seed + 7919 * i)
            for i, (order, s) in enumerate(zip(orders, streams, strict=True))
        ]
        indices = tf.concat([w[0] for w in walks], axis=0)
        epochs = tf.concat([w[1] for w in walks], axis=0)
        keys = tf.stack(
            [tf.fill(tf.shape(indices), tf.constant(seed, tf.int64)), epochs * len(store) + indices], 1
        )
        images = tf.numpy_function(store.images, [indices], tf.uint8)
        images = tf.ensure_shape(images, [sum(s.per_batch for s in streams), side, side, 3])
        images, moved = augmentation.augment(
            images, tf.gather(all_boxes, indices), augmentation.draw(keys), config, image_size
        )
        rest = (tf.gather(x, indices) for x in (all_labels, all_weights, all_known))
        examples = _mixed(
            mixing.Examples(images, moved, *rest),
            streams,
            counts,
            tf.stack([tf.constant(seed, tf.int64), step]),
        )
        images, moved, labels, weights, known = examples
        assigned = {}
        for role, grid in anchors.items():
            scaled = moved * (grid.image_size / image_size)
            assigned[role] = target_math.assign(grid, scaled, labels, weights, num_classes) | {"known": known}
            if has_crowds:
                where = target_math.ignored(grid, scaled, weights, assigned[role]["weights"])
                assigned[role]["ignored"] = where
        return {"images": images, "targets": assigned}

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
) -> tf.data.Dataset:
    """Returns batches of a labelled split for `Distiller.fit`, in user code.

    Args:
      split: elements as in `data.base`, such as `dataset.split("train")`.
      anchors: of the detector that learns.
      num_classes: C.
      steps: how many batches; give `fit` the same number in all.
      batch_size: images per batch.
      image_size: side of the largest input; None for that of `anchors`.
      augmentation_config: how far images change; the defaults when None.
      seed: of order and augmentation.
      cache_gb: how much memory decoded images may take; more are decoded at each use.

    Raises:
      MkdError: if images are to be mixed that are not there: all are labelled.
    """
    changes = augmentation_config or AugmentationConfig()
    mixing.check_mixing(changes, [(True, batch_size)])
    size = image_size or anchors.image_size
    store = ImageStore([split], size, "stretch", cache_gb)
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
