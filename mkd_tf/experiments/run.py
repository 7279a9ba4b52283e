"""One ablation in its folder: train what is missing, measure it, write tables."""

import fcntl
import shlex
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config
from mkd_tf.evaluation.console import make_console, say
from mkd_tf.experiments.grid import Cell, Job, cells_of, jobs_of
from mkd_tf.experiments.pool import LOG, Event, Pool, is_done, is_locked
from mkd_tf.experiments.records import row_of, write_records
from mkd_tf.experiments.spec import Experiment, text
from mkd_tf.experiments.summary import MATCHES, Resampled, summarize, with_matches
from mkd_tf.experiments.tables import write_summary

TRAIN = (sys.executable, "-m", "mkd_tf.train")


def parse_shard(given: str) -> tuple[int, int]:
    """Returns index and count of `i/n`, counted from 0.

    Raises:
      MkdError: if it is not one of 0/n to n-1/n.
    """
    index, _, count = given.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        fail(
            "shard", expected="i/n with i from 0 to n - 1, as in 0/2", got=repr(given), do="Correct --shard."
        )
    return int(index), int(count)


def parse_arms(given: str, experiment: Experiment) -> tuple[str, ...]:
    """Returns the names in a comma-separated list; none for all arms.

    Raises:
      MkdError: if one is no arm of the experiment.
    """
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if unknown := [name for name in names if name not in experiment.arms]:
        known = ", ".join(experiment.arms)
        fail("arms", expected=f"arms of the file: {known}", got=", ".join(unknown), do="Correct --arms.")
    return names


class _Board:
    """What a person sees: a bar on a terminal, lines in a log."""

    def __init__(self, jobs: Sequence[Job], slots: int, console: Console):
        self._kinds = {job.name: job.role for job in jobs}
        self._slots, self._console = slots, console
        self._left = dict(self._kinds)
        self._seconds: dict[str, list[float]] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}  {task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("jobs", total=len(jobs), left="–", note="")

    def __enter__(self) -> "_Board":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def left(self) -> str:
        """Returns the time left, from what jobs of each kind took; a dash before one is done."""
        known = [s for seconds in self._seconds.values() for s in seconds]
        if not known:
            return "–"
        means = {kind: sum(s) / len(s) for kind, s in self._seconds.items()}
        total = sum(means.get(kind, sum(known) / len(known)) for kind in self._left.values())
        minutes = round(total / self._slots / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"

    def report(self, event: Event, job: Job, seconds: float) -> None:
        """Takes note of what happened to a job."""
        if event in ("done", "failed"):
            self._left.pop(job.name, None)
            if event == "done" and seconds:
                self._seconds.setdefault(job.role, []).append(seconds)
        done = len(self._kinds) - len(self._left)
        self._bar.update(self._task, completed=done, left=self.left(), note=job.name)
        if event in ("failed", "killed") or (seconds and not self._console.is_terminal):
            took = f" after {seconds:.0f} s" if seconds else ""
            say(self._console, f"{done}/{len(self._kinds)}  {job.name}: {event}{took}; left {self.left()}")


class Ablation:
    """An experiment in its folder.

    Args:
      experiment: what is compared.
      root: the folder; several processes may share it.
      shard: which part of the cells this process does.
      console: where progress is shown.
      arms: of which it does cells; empty for all.
    """

    def __init__(
        self,
        experiment: Experiment,
        root: Path,
        shard: tuple[int, int] = (0, 1),
        console: Console | None = None,
        arms: Collection[str] = (),
    ):
        self.experiment, self.root = experiment, root
        self.console = console or make_console()
        self.cells = cells_of(experiment, root)
        chosen = [cell for cell in self.cells if not arms or cell.arm in arms]
        self.mine = chosen[shard[0] :: shard[1]]

    def say(self, line: str) -> None:
        """Prints a line."""
        say(self.console, line)

    def show(self, command: Sequence[str] = TRAIN) -> None:
        """Prints the state of every job and the command that does it."""
        jobs = jobs_of(self.mine)
        for job in jobs:
            state = "to do"
            if is_done(self.root, job):
                state = "done"
            elif is_locked(self.root / job.name):
                state = "running"
            self.say(f"{job.name}: {state}")
            self.say(f"  {shlex.join([*command, *job.arguments(self.root)])}")
        e = self.experiment
        self.say(
            f"{len(self.mine)} of {len(self.cells)} cells: {len(e.arms)} arms x {len(e.seeds)} seeds x "
            f"{len(e.datasets)} data sets x {len(e.networks)} networks; "
            f"{len(jobs) - len(self.mine)} trainings of teachers and guides"
        )

    def train(self, slots: int, command: Sequence[str] = TRAIN) -> dict[str, str]:
        """Trains what is not done, `slots` at a time; returns the reasons by job of those that failed."""
        jobs = jobs_of(self.mine)
        with _Board(jobs, slots, self.console) as board:
            pool = Pool(self.root, jobs, command, slots, board.report)
            pool.run()
        return pool.failed

    def finish(self, measure: Callable[[list[Cell]], None]) -> None:
        """Measures this process's cells with `measure`, and writes the tables of all cells that are done."""
        done = [c for c in self.mine if is_done(self.root, c.job)]
        if any(not (self.root / c.job.name / MATCHES).exists() for c in done):
            measure(done)
        self.root.mkdir(parents=True, exist_ok=True)
        # The last of several processes to write has read what all of them have measured.
        with open(self.root / ".tables.lock", "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            rows = [row for cell in self.cells if (row := row_of(cell, self.root))]
            write_records(self.root, rows)
            measured = with_matches(self.root, rows)
            with Progress(console=self.console, transient=True) as progress:
                task = progress.add_task("resampling", total=len(measured))
                resampled = Resampled(self.root, self.experiment.rule.draws, lambda: progress.advance(task))
                lines = summarize(self.experiment, measured, resampled)
            write_summary(self.root, self.experiment, lines)


def run_ablation(
    ablation: Ablation, slots: int, config_of: Callable[[str], Config], command: Sequence[str] = TRAIN
) -> None:
    """Trains, measures and compares.

    Args:
      ablation: what is done.
      slots: how many trainings run at once.
      config_of: returns the configuration of a work directory.
      command: what trains.

    Raises:
      MkdError: if a job failed, after all else is done.
    """

    def measure(cells: list[Cell]) -> None:
        # TensorFlow is needed here alone.
        from mkd_tf.experiments.measuring import measure

        arms = ablation.experiment.arms
        # Refreshed by hand: tfds patches imports while it loads, and Rich's thread imports as it draws.
        with Progress(console=ablation.console, transient=True, auto_refresh=False) as progress:
            task = progress.add_task("measuring", total=len(cells))
            measure(
                ablation.root,
                cells,
                lambda arm: {name: text(value) for name, value in arms[arm].flags.items()},
                config_of,
                lambda: progress.update(task, advance=1, refresh=True),
            )

    began = time.monotonic()
    failed = ablation.train(slots, command)
    ablation.finish(measure)
    ablation.say((ablation.root / "summary.md").read_text(encoding="utf-8"))
    ablation.say(f"{time.monotonic() - began:.0f} s; results.csv and summary.md: {ablation.root}")
    for name, reason in failed.items():
        ablation.say(f"failed: {name}: {reason}")
    if failed:
        raise MkdError(
            f"{len(failed)} of {len(jobs_of(ablation.mine))} jobs failed, listed above; each folder has its "
            f"{LOG}. Correct the cause and give the same command: it tries them again."
        )
