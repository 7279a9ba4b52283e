"""Jobs run as child processes, a few at a time, and go on after any kill.

What a job has done is in its folder alone. A job is done when its stage is; training takes
up its work directory by itself, so a job that was killed is started again with the same
command. A folder whose lock another process holds is left to it: that is another shard's
job, or a child that outlived its parent; this process waits until the job is done or the
lock is free.
"""

import collections
import dataclasses
import fcntl
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import options
from mkd_tf.experiments.grid import Job, default_values
from mkd_tf.experiments.spec import flagfile_values, text
from mkd_tf.files import write_json
from mkd_tf.training.request import Request, Stopped
from mkd_tf.training.workdir import FLAGS_FILE, TAKEN

LOG = "train.log"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_STARTS = 4  # of one job that is killed again and again
_SECONDS_TO_END = 20
_PAUSE = 0.2  # between two looks at the children, in seconds
Event = Literal["started", "done", "failed", "killed"]


def is_done(root: Path, job: Job) -> bool:
    """Whether the job's stage is done, and measured where it is a student's."""
    folder = root / job.name
    if job.role != "student":
        return (folder / job.role / "done.json").exists()
    try:
        return "student" in json.loads((folder / "results.json").read_text(encoding="utf-8"))["roles"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # Training mends it, or says why not.
        return False


def is_locked(folder: Path) -> bool:
    """Whether another process trains in the work directory `folder`."""
    try:
        with open(folder / ".lock", "rb+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def check_identity(root: Path, job: Job) -> None:
    """Ties a job's folder to the flags that it was begun with, defaults included.

    Raises:
      MkdError: if it was begun with others.
    """
    path = root / job.name / "job.json"
    if not path.exists():
        write_json(path, job.identity)
        return
    before, now = _read_identity(path), job.identity
    stored = path.with_name(FLAGS_FILE)
    if stored.exists():
        # Flags that nobody gave: their defaults were those of the version that began it.
        values = flagfile_values(stored)
        free = {n for n, field in options().items() if field.metadata["free"]}
        defaults = {n: text(v) for n, v in default_values().items() if n not in now and n not in free}
        before, now = before | {n: values.get(n) for n in defaults}, now | defaults
    names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
    if names:
        was = {n: f"was {before[n]!r}" if before.get(n) is not None else "was not there" for n in names}
        changes = "; ".join(f"--{n} {was[n]}, is {now.get(n)!r}" for n in names)
        fail(
            str(path.parent),
            expected="the flags that it was begun with",
            got=changes,
            do="Give the arm another name, give these flags (or go on with the version that began it), or "
            "delete the folder.",
        )


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        do = "Delete it, if the flags of this arm are those of before."
        fail(str(path), expected="the flags of a cell", got=f"a damaged file ({found})"[:120], do=do)
    return found


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen
    log: IO[str]
    began: float

    def stop(self) -> None:
        """Ends the process, gently at first; at once when another signal comes meanwhile."""
        self.process.terminate()
        try:
            self.process.wait(_SECONDS_TO_END)
        except (subprocess.TimeoutExpired, Stopped):
            self.process.kill()
            self.process.wait()
        self.log.close()


class Pool:
    """Runs jobs until each is done, has failed, or waits for one that failed.

    Args:
      root: folder of the ablation.
      jobs: none before one that it needs.
      command: what the arguments of a job are appended to.
      slots: how many run at once.
      report: called with what happened to a job, and the seconds since its start.

    Attributes:
      failed: the reason by the name of the job.
    """

    def __init__(
        self,
        root: Path,
        jobs: Sequence[Job],
        command: Sequence[str],
        slots: int,
        report: Callable[[Event, Job, float], None] = lambda event, job, seconds: None,
    ):
        self._root, self._command, self._slots = root, list(command), slots
        self._report = report
        self._waiting = list(jobs)
        self._running: list[_Running] = []
        self._starts: collections.Counter[str] = collections.Counter()
        self._done: set[str] = set()
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Returns when nothing is left to do; stops its children when it is interrupted."""
        request = Request()
        # Noted first: an exception in the midst of a start would leave a child that nobody knows.
        with request.after_the_step(), request.watched():
            try:
                while self._step() and not request.number:
                    time.sleep(_PAUSE)
            except Stopped:  # A second signal.
                pass
            finally:
                for running in self._running:
                    running.stop()
        if request.number:
            raise KeyboardInterrupt

    def _step(self) -> bool:
        self._collect()
        for job in list(self._waiting):
            self._consider(job)
        return bool(self._waiting or self._running)

    def _settle(self, job: Job, event: Event, seconds: float = 0.0, reason: str = "") -> None:
        if event == "done":
            self._done.add(job.name)
        else:
            self.failed[job.name] = reason
        self._report(event, job, seconds)

    def _collect(self) -> None:
        for running in list(self._running):
            job, code = running.job, running.process.poll()
            done = is_done(self._root, job)
            if code is None and not (done and job.role != "student"):
                continue
            # A teacher's or guide's process would go on with a student that nobody needs.
            running.stop()
            self._running.remove(running)
            seconds, log = time.monotonic() - running.began, self._root / job.name / LOG
            if done:
                self._settle(job, "done", seconds)
            elif TAKEN in log.read_text(encoding="utf-8", errors="replace")[-500:]:
                self._waiting.insert(0, job)
            elif code is not None and code <= 0 and self._starts[job.name] < _STARTS:
                self._report("killed", job, seconds)
                self._waiting.insert(0, job)
            else:
                self._settle(job, "failed", seconds, f"exit status {code}, see {log}")

    def _consider(self, job: Job) -> None:
        """Starts a job if its time has come."""
        blockers = [name for name in job.needs if name in self.failed]
        try:
            if blockers:
                self._waiting.remove(job)
                self._settle(job, "failed", reason=f"{blockers[0]} failed")
            elif not all(name in self._done for name in job.needs):
                pass
            elif is_done(self._root, job):
                check_identity(self._root, job)
                self._waiting.remove(job)
                self._settle(job, "done")
            elif len(self._running) < self._slots and not is_locked(self._root / job.name):
                check_identity(self._root, job)
                self._waiting.remove(job)
                self._start(job)
        except MkdError as error:
            self._waiting.remove(job)
            self._settle(job, "failed", reason=str(error))

    def _start(self, job: Job) -> None:
        command = [*self._command, *job.arguments(self._root)]
        log = open(self._root / job.name / LOG, "a", encoding="utf-8")  # noqa: SIM115 (closed by stop)
        print(f"$ {shlex.join(command)}", file=log, flush=True)
        self._starts[job.name] += 1
        environment = os.environ | _ONE_THREAD
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)  # noqa: S603
        self._running.append(_Running(job, process, log, time.monotonic()))
        self._report("started", job, 0.0)
