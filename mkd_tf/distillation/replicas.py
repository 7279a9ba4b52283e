"""Sums over replicas, by which several replicas compute the same step as one.

Each replica has a part of the batch. Keras's optimisers add up the replicas'
gradients, but clip those of each replica before: a step of two replicas would
differ from that of one replica over the whole batch.
"""

from typing import Any

import keras
import tensorflow as tf


def replica_count() -> int:
    """Returns the number of replicas; a mean over a replica's examples is divided by it."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def over_replicas(values: Any) -> Any:
    """Sums tensors (or a structure of them) over the replicas of a step."""
    if replica_count() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce("SUM", values)


def inner_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer:
    """Returns the optimiser that clips and decays: what a loss-scaling one is wrapped around."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def shared_gradients(gradients: list[Any], optimizer: keras.Optimizer) -> list[Any]:
    """Returns what `optimizer.apply` gets on each replica, for the same step as with one replica.

    The sum over replicas is clipped as the optimiser says, and divided by the replicas'
    number: clipping that again changes nothing, and the optimiser adds the parts up.
    """
    count = replica_count()
    if count == 1:
        return gradients
    present = over_replicas([g for g in gradients if g is not None])
    inner = inner_optimizer(optimizer)
    if inner.global_clipnorm:
        present, _ = tf.clip_by_global_norm(present, optimizer.scale_loss(inner.global_clipnorm))
    elif inner.clipnorm:
        limit = optimizer.scale_loss(inner.clipnorm)
        present = [tf.clip_by_norm(g, limit) for g in present]
    elif inner.clipvalue:
        limit = optimizer.scale_loss(inner.clipvalue)
        present = [tf.clip_by_value(g, -limit, limit) for g in present]
    parts = iter([g / count for g in present])
    return [None if g is None else next(parts) for g in gradients]
