"""Replicas: a step's images shared among the devices of one machine, or of several.

The total and the gradients are those of one replica over the same batch: every term
is divided by the number of replicas, batch norms take their statistics over all of
them (`training.networks.synchronize`), gradients are clipped as one (`replicas`), and
the balance measures sums over all.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config, RunConfig
from mkd_tf.starts import Imitation
from mkd_tf.training.answer_terms import answers_only
from mkd_tf.training.cluster import Cluster, read_cluster
from mkd_tf.training.request import REQUEST
from mkd_tf.training.starting import starts_of
from mkd_tf.training.workers import GO_ON, Workers

SILENT_SECONDS = 60
"""After which the others take a silent worker for lost. TensorFlow's 10 s pass on a machine that swaps."""

LEAVE_SECONDS = 10
"""A worker that ends waits as long for the others to end."""

_ABORTED = "Collective ops is aborted by:"


@contextlib.contextmanager
def scope(config: RunConfig) -> Iterator[Workers]:
    """Returns a context in which variables are created on all replicas of this machine.

    With several workers it is left to them (`Workers.scope`) which variables they have in common.
    Call it before anything else touches TensorFlow's devices, and before signals are watched:
    several workers have a handler of TensorFlow's own, which takes SIGTERM and does not end.

    Raises:
      MkdError: if there are fewer devices than `config.replicas`, or TF_CONFIG does not say who the
        workers are; within, if a worker is lost.
    """
    if config.distribution == "none":
        yield Workers()
        return
    if config.distribution == "multi_worker":
        cluster = read_cluster()
        with _losses_told(cluster), REQUEST.after_the_step():
            # Else a line for every collective operation that is traced, some hundred of them.
            logging.getLogger("tensorflow").setLevel(logging.WARNING)
            _be_patient()
            print(f"{cluster}: waits for the others", flush=True)
            try:
                yield Workers(tf.distribute.MultiWorkerMirroredStrategy(), cluster)
            except tf.errors.OpError:
                raise  # Another one is gone: nobody to wait for.
            except BaseException:
                _take_leave()
                raise
            _take_leave()
        return
    with tf.distribute.MirroredStrategy(
        devices(config.replicas),
        # Over parts of one CPU, the default reduction of synchronised statistics fails.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    ).scope():
        yield Workers()


def _be_patient() -> None:
    """Lets workers be silent for `SILENT_SECONDS`; the strategy has no argument for it."""
    made = context.context()
    configure = made.configure_coordination_service
    made.configure_coordination_service = functools.partial(
        configure, heartbeat_timeout_in_ms=1000 * SILENT_SECONDS
    )


def _take_leave() -> None:
    """Waits until all workers are here, for `LEAVE_SECONDS` at most.

    One that ends closes its connections, through which another may still be getting the last answer of both.
    """
    # It fails where another one is lost or late, or the first worker, which counts them, has just ended.
    with contextlib.suppress(tf.errors.OpError):
        context.context().wait_at_barrier("mkd_tf/ended", 1000 * LEAVE_SECONDS)


@contextlib.contextmanager
def _losses_told(cluster: Cluster) -> Iterator[None]:
    """Turns what TensorFlow raises within, when another worker is gone, into one line."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
        if not isinstance(error, lost) and _ABORTED not in str(error):
            raise
        why = str(error).rpartition(_ABORTED)[2].strip().partition("\n")[0].rstrip(":")
        raise MkdError(
            f"{cluster}: another worker was lost ({why[:120]}). Its own output may say why; {GO_ON}."
        ) from error


def check_shareable(config: Config) -> None:
    """Raises `MkdError` for an option that does not work with several replicas, by its name."""
    run, roles = config.run, config.roles
    if run.distribution == "none":
        return
    one = {"start": any(isinstance(start, Imitation) for start in starts_of(roles.start))}
    if run.distribution == "multi_worker":
        one |= {
            "compress": bool(config.compression.compress),
            "minutes": bool(run.minutes),
            "teacher": answers_only(roles.teacher),
            "replicas": bool(run.replicas),
        }
    for name in (name for name, is_given in one.items() if is_given):
        fail(
            f"distribution {run.distribution}",
            expected=_WITHOUT[name][0],
            got=f"--{name}",
            do=_WITHOUT[name][1],
        )


_WITHOUT = {
    "start": ("a start without imitation", "Use another --start, or --distribution=none."),
    "compress": (
        "no further stages",
        "Compress in a further run with --distribution=none, which takes up this work directory.",
    ),
    "minutes": ("lengths that are given", "Set --teacher_epochs, --student_epochs and the like."),
    "teacher": (
        "a network as the teacher",
        "Label the images first (mkd label), or train with --distribution=none.",
    ),
    "replicas": ("one replica for each GPU, or one for each CPU", "Leave it out."),
}
"""What several replicas expect in place of an option, and what to do."""


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
