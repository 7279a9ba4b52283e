"""Replicas: a step's images shared among the devices of one machine.

The total and the gradients are those of one replica over the same batch: every term
is divided by the number of replicas, batch norms take their statistics over all of
them (`training.networks.synchronize`), gradients are clipped as one (`replicas`), and
the balance measures sums over all.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.config import RunConfig


@contextlib.contextmanager
def scope(config: RunConfig) -> Iterator[None]:
    """Returns a context in which variables are created on all replicas.

    Raises:
      MkdError: if there are fewer devices than `config.replicas`.
    """
    if config.distribution == "none":
        yield
        return
    with tf.distribute.MirroredStrategy(
        devices(config.replicas),
        # Over parts of one CPU, the default reduction of synchronised statistics fails.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    ).scope():
        yield


def devices(count: int) -> list[str]:
    """Returns the devices of `count` replicas: GPUs, or parts of the CPU where there is none.

    Call it before anything else touches TensorFlow's devices.

    Args:
      count: of replicas; 0 for one per GPU.

    Raises:
      MkdError: if there are fewer GPUs, or none and no count.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if count > len(gpus):
            fail(
                "replicas", expected=f"at most {len(gpus)} GPUs", got=str(count), do="Use 0 for all of them."
            )
        return [f"GPU:{i}" for i in range(count or len(gpus))]
    if not count:
        fail(
            "distribution mirrored",
            expected="a GPU, or a number of parts of the CPU",
            got="none",
            do="Set --replicas=2, or --distribution=none: parts of one CPU are no faster than the whole.",
        )
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    try:
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    except RuntimeError:
        fail(
            "replicas",
            expected="to be set before the first use of TensorFlow",
            got="a process that has used it",
            do="Call it at the start of a new process.",
        )
    return [f"CPU:{i}" for i in range(count)]
