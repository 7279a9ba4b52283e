"""Workers: the processes that share the steps of a run, each with its part of every batch.

All of them run the same program, and every variable and every step is made by all in the same
order. What is not a step, the chief does alone: it validates, measures and writes, and the others
wait for it (`Workers.on_chief`) and read what it wrote. They tell each other one number at a time,
by the same collective operations of tf.distribute that add up gradients.

A run on one machine is its own chief and waits for nobody.
"""

import contextlib
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import tensorflow as tf

from mkd_tf.checks import MkdError, fail
from mkd_tf.training.cluster import Cluster
from mkd_tf.training.request import REQUEST, Stopped

T = TypeVar("T")
SECONDS_TO_BE_SEEN = 90
"""Network file systems show a new file after up to a minute."""
_WELL, _FAILED = 0, -1
GO_ON = "the same command on every machine goes on from there"


class Workers:
    """The workers of a run, of which this process is one.

    Args:
      strategy: what shares the steps; None for a run of one process.
      cluster: where the workers are, with a strategy.

    Attributes:
      count: of workers.
      index: number of this one, 0 for the chief.
    """

    def __init__(
        self,
        strategy: tf.distribute.MultiWorkerMirroredStrategy | None = None,
        cluster: Cluster | None = None,
    ):
        self._strategy = strategy
        self.count = len(cluster.addresses) if cluster else 1
        self.index = cluster.index if cluster else 0

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Parts of a batch, over all workers."""
        return (self._strategy or tf.distribute.get_strategy()).num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which variables are created, by all workers in the same order."""
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    def check_batch(self, batch_size: int) -> None:
        """Raises `MkdError` unless a batch can be shared equally."""
        if self._strategy is not None and batch_size % self.replicas:
            fail(
                "batch_size",
                expected=f"a multiple of the {self.replicas} replicas on {self.count} workers",
                got=str(batch_size),
                do=f"Set --batch_size={max(1, batch_size // self.replicas) * self.replicas}.",
            )

    def shared(
        self, make: Callable[[tuple[int, int]], tf.data.Dataset], batch_size: int
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns the batches of this worker.

        Args:
          make: returns, for a worker's number and the number of workers, its part of every batch.
          batch_size: images of a batch over all workers.
        """
        strategy = self._strategy
        if strategy is None:
            return make((0, 1))
        each = batch_size // self.replicas
        # Of batches that may end, the workers would ask each other before every step whether they did.
        return strategy.distribute_datasets_from_function(
            lambda _: make((self.index, self.count)).rebatch(each, drop_remainder=True).repeat()
        )

    def of_all(self, number: int) -> list[int]:
        """Returns the numbers that all workers give; each waits for the others."""
        strategy = self._strategy
        if strategy is None:
            return [number]
        own = np.zeros(self.count, "int64")
        own[self.index] = number
        # Each replica of a worker adds the same.
        each = strategy.num_replicas_in_sync // self.count
        return (self._sums(tf.constant(own)) // each).numpy().tolist()

    @tf.function
    def _sums(self, own: tf.Tensor) -> tf.Tensor:
        def summed(values: tf.Tensor) -> tf.Tensor:
            # An argument of a function is on no device, and a copy is on that of the replica.
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(values))

        strategy = cast(tf.distribute.Strategy, self._strategy)
        return strategy.experimental_local_results(strategy.run(summed, args=(own,)))[0]

    def requested(self) -> int:
        """Returns the signal that any of the workers got, 0 for none; each waits for the others."""
        return max(self.of_all(REQUEST.number))

    def on_chief(self, work: Callable[[], T], stops: bool = True) -> T | None:
        """The chief works, and the others wait until it is done; returns its result, None elsewhere.

        Args:
          work: makes no variables in the scope, and takes no part in collective operations.
          stops: whether the run may end here by a signal, at once for one that the chief gets.

        Raises:
          Stopped: on all workers, if one of them got a signal.
          MkdError: on the others, if the work failed; on the chief its error passes.
        """
        if self._strategy is None:
            return work()
        result = None
        code = REQUEST.number if stops else _WELL
        if self.is_chief:
            try:
                with REQUEST.at_once() if stops else contextlib.nullcontext():
                    result = work()
            except BaseException as error:
                # The others must not wait for a chief that is gone.
                self.of_all(error.number if isinstance(error, Stopped) else _FAILED)
                raise
        codes = self.of_all(code)
        if codes[0] == _FAILED:
            raise MkdError(
                f"worker {self.index}: the chief ended with an error, see its output. "
                "Correct that, and start the same command on every machine again."
            )
        if max(codes):
            raise Stopped(max(codes), f"what was finished is kept, and {GO_ON}")
        return result

    def same_file(self, path: Path) -> Path:
        """Returns the path of a file that the chief wrote, once this worker sees the same content.

        Raises:
          MkdError: if it does not within the time that network file systems take.
        """
        if self._strategy is not None:
            what = "the file that the chief wrote"
            self.agreed(_content(path), lambda: _content(path), lambda content: [content], path, what)
        return path

    def agreed(
        self, found: T, look: Callable[[], T], numbers: Callable[[T], Sequence[int]], at: Path, what: str
    ) -> T:
        """Looks again and again until this worker sees what the chief sees; returns what it saw then.

        Args:
          found: what it saw before.
          look: reads what is at `at`.
          numbers: that are the same for what is the same, and always as many.
          at: a file or folder.
          what: the chief has there.

        Raises:
          MkdError: if it does not within the time that network file systems take.
        """
        wanted = [self.of_all(number)[0] for number in numbers(found)]
        deadline = time.monotonic() + SECONDS_TO_BE_SEEN
        while list(numbers(found)) != wanted:
            if time.monotonic() > deadline:
                fail(
                    f"worker {self.index}, {at}",
                    expected=what,
                    got="another" if at.exists() else "none",
                    do="Put the --workdir in a folder that all machines share.",
                )
            time.sleep(0.2)
            found = look()
        return found


def _content(path: Path) -> int:
    """Returns a number that stands for a file's content, 0 if there is none."""
    try:
        return zlib.crc32(path.read_bytes()) + 1
    except FileNotFoundError:
        return 0
