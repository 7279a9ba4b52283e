"""Advice around a run: what is in the data, what `--minutes` chooses, how long the run takes.

What was chosen is in `advice.json` of the work directory, so that the same command goes on with
it. The epochs of a stage are settled when it begins, from the time that is left then: how
long earlier stages really took corrects the estimate for those that follow.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from mkd_tf import schemas
from mkd_tf.checks import fail
from mkd_tf.config import Config, from_values, to_values
from mkd_tf.data.base import Dataset
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.results import in_order
from mkd_tf.inspection.inspecting import inspect
from mkd_tf.inspection.rows import summary_lines
from mkd_tf.schemas.inspection import AdviceFile, InspectionFile, LoadFacts, SpeedFacts
from mkd_tf.schemas.training import Finding, ResultsFile
from mkd_tf.training.advice_choice import choose, choose_batch
from mkd_tf.training.advice_diagnosis import Finished, diagnose
from mkd_tf.training.advice_estimate import LEAST_STEPS, FirstSteps, steps_of
from mkd_tf.training.advice_probe import load_of, pools_of, probe
from mkd_tf.training.advice_times import Load, Speed, in_words, scaled_epochs, stage_time
from mkd_tf.training.backup import has_backup
from mkd_tf.training.harm import validations
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import Stage, plan
from mkd_tf.training.workdir import FLAGS_FILE

FILE = "advice.json"
_ASSIGNED = 300
"""Images of each split whose objects are assigned to locations: a second's work."""
_SHOW_TRACES = 3
"""Networks that are traced for the images at the end of a run."""


class Advice:
    """Advises one run; without `--minutes` it reports the data and leaves all options as they are.

    Args:
      config: as the flags say.
      given: names of the flags that the user gave; those are not chosen, but for epochs.
      began: when the program started, in seconds of the monotonic clock; None for now.

    Attributes:
      config: with what `--minutes` has chosen.
      inspected: what the data set holds, after `look`.

    Raises:
      MkdError: if the work directory was begun with other `--minutes`.
    """

    def __init__(self, config: Config, given: Collection[str] = (), began: float | None = None):
        self._began = self._mark = time.monotonic() if began is None else began
        self.config, self._given = config, frozenset(given)
        self._folder = Path(config.run.workdir)
        self._record: AdviceFile | None = None
        self._watched = False
        self.inspected: InspectionFile | None = None
        path = self._folder / FILE
        # Without flags no run was begun: what was chosen then may be for other flags.
        if config.run.minutes and path.exists() and (self._folder / FLAGS_FILE).exists():
            self._record = schemas.read(path, AdviceFile)
            if self._record["minutes"] != config.run.minutes:
                fail(
                    "flag --minutes",
                    expected=f"{self._record['minutes']:g}, with which {self._folder} was begun",
                    got=f"{config.run.minutes:g}",
                    do="Use another --workdir, or the same flags to go on.",
                )
            self._take(self._record["chosen"])

    def _take(self, chosen: dict[str, Any]) -> None:
        epochs = {name for name in chosen if name.endswith("_epochs")}
        new = {n: v for n, v in chosen.items() if n in epochs or n not in self._given}
        self.config = from_values(to_values(self.config) | new)

    def look(self, dataset: Dataset, console: Console) -> Config:
        """Prints what the data set holds and chooses what `--minutes` asks for; returns the configuration."""
        roles, data = self.config.roles, self.config.data
        anchors = grid_anchors(roles.size_of("student"))
        found = inspect(dataset, data.dataset, anchors, data.fit, copies=False, assigned=_ASSIGNED)
        self.inspected = found.record
        for line in summary_lines(self.inspected):
            say(console, line)
        if not self.config.run.minutes:
            return self.config
        if self._record is not None:
            chosen = ", ".join(f"--{name}={value:g}" for name, value in self._record["chosen"].items())
            say(console, f"--minutes={self.config.run.minutes:g} chose before: {chosen}")
            return self.config
        stages = self._paced()
        if not stages:
            return self.config
        record = self._choose(dataset, stages)
        for line in self._words(record, stages):
            say(console, line)
        return self.config

    def _paced(self) -> list[Stage]:
        """Returns the stages whose length `--minutes` chooses."""
        roles = self.config.roles
        return [s for s in plan(roles) if not s.method and not roles.weights_of(s.role)]

    def _choose(self, dataset: Dataset, stages: Sequence[Stage]) -> AdviceFile:
        config = self.config
        pool = sum(len(dataset.split(s)) for s in dataset.split_names if s in ("train", "unlabelled"))
        batch = choose_batch(config, self._given, pool)
        self._take(batch)
        networks = Networks(self.config, dataset.class_names)
        load = load_of(self.config, dataset, networks, plan(self.config.roles))
        speed = probe(self.config, dataset, networks, stages[0], load.macs)
        spent = time.monotonic() - self._began
        left = 60 * config.run.minutes - spent - self._around(load, speed)
        inspected: Any = self.inspected
        choice = choose(inspected, self.config, self._given, stages, load, speed, left)
        size = choice.values.get("image_size", config.roles.image_size)
        load = load.at((size / config.roles.image_size) ** 2, load.batch_size)
        load = dataclasses.replace(load, eval_every=choice.values.get("eval_every", load.eval_every))
        self._take(batch | choice.values)
        given = {name: str(to_values(config)[name]) for name in sorted(self._given)}
        record: AdviceFile = {
            "minutes": float(config.run.minutes),
            "given": given,
            "chosen": batch | choice.values,
            "reasons": choice.reasons,
            "stages": {s.role: stage_time(s, s.epochs, load, speed) for s in self._paced()},
            "choosing_s": spent,
            "speed": cast(SpeedFacts, dataclasses.asdict(speed)),
            "load": cast(LoadFacts, dataclasses.asdict(load)),
            "epochs": {},
            "spent_s": {},
        }
        self._record = record
        self._write()
        return record

    def _around(self, load: Load, speed: Speed) -> float:
        """Returns the seconds between choosing and the first stage, and after the last one."""
        images = max(load.pools.values()) + load.validation + load.test
        return images * speed.read_s + (len(load.macs) + _SHOW_TRACES) * speed.trace_s

    def _words(self, record: AdviceFile, stages: Sequence[Stage]) -> list[str]:
        load, speed = Load(**record["load"]), Speed(**record["speed"])
        names = ", ".join(f"--{name}={value:g}" for name, value in record["chosen"].items())
        times = record["stages"]
        around = self._around(load, speed) + record["choosing_s"]
        whole = sum(entry["total_s"] for entry in times.values()) + around
        each = ", ".join(f"{role} {in_words(entry['total_s'])}" for role, entry in times.items())
        step = times[stages[0].role]["step_s"]
        late = [] if whole <= 66 * record["minutes"] else ["  no shorter run does a pass in each stage"]
        return [
            f"--minutes={record['minutes']:g} chooses {names}",
            *(f"  {reason}" for reason in record["reasons"]),
            f"  measured: {1000 * step:.0f} ms for a step of the {stages[0].role}, "
            f"{1000 * speed.batch_s:.0f} ms of it to prepare the batch",
            f"estimate: {in_words(whole)} in all: {each}, "
            f"{in_words(around)} before and after; a stage is adapted to the time left when it begins",
            *late,
        ]

    def settle(self, stage: Stage) -> Stage:
        """Returns a stage with the epochs that it is to have; those of a stage that has begun stay."""
        record = self._record
        if record is None or stage.role not in record["stages"]:
            return stage
        if stage.role not in record["epochs"]:
            record["epochs"][stage.role] = self._epochs_now(stage, record)
            self._write()
        return dataclasses.replace(stage, epochs=record["epochs"][stage.role])

    def _epochs_now(self, stage: Stage, record: AdviceFile) -> int:
        if stage.role == "student" and "student_alone" in record["epochs"]:
            return record["epochs"]["student_alone"]  # A control has as many steps.
        load = Load(**record["load"])
        speed = Speed(**record["speed"])
        spent = record["spent_s"]
        known = [role for role in spent if role in record["stages"]]
        expected = sum(
            stage_time(s, record["epochs"][s.role], load, speed)["total_s"]
            for s in self._paced()
            if s.role in known and s.role in record["epochs"]
        )
        # Speed that earlier stages had, in units of the measured one.
        factor = sum(spent[role] for role in known) / expected if expected else 1.0
        factor = min(max(factor, 0.3), 3.0)
        late = dataclasses.replace(
            speed,
            **{name: factor * getattr(speed, name) for name in ("mac_s", "batch_s", "start_s", "trace_s")},
        )
        rest = [s for s in self._paced() if s.role not in spent]
        end = _SHOW_TRACES * late.trace_s
        elapsed = sum(spent.values()) + time.monotonic() - self._mark
        left = 60 * record["minutes"] - elapsed - end
        return scaled_epochs(rest, load, late, left)[0][stage.role]

    def watch(
        self, stage: Stage, dataset: Dataset, networks: Networks, say: Callable[[str], None]
    ) -> list[Any]:
        """Returns the callback that estimates the whole run from the first steps of its first stage.

        There is none with `--minutes`, which has estimated it before, for later stages of this
        process, and for runs that are over soon.
        """
        begun = has_backup(self._folder / stage.role / "backup")
        if self._record is not None or self._watched or stage.method or begun:
            return []
        self._watched = True
        stages = self._paced()
        stages = stages[[s.role for s in stages].index(stage.role) :]
        pools = pools_of(self.config, dataset, [s.role for s in stages])
        if steps_of(stages, pools, self.config.optimizer.batch_size) < LEAST_STEPS:
            return []
        load = load_of(self.config, dataset, networks, plan(self.config.roles))
        return [FirstSteps(stages, load, say)]

    def diagnose(self, results: ResultsFile) -> list[Finding]:
        """Returns what a finished run says about itself."""
        roles = results["roles"]
        curves = {role: validations(self._folder / role / "history.csv") for role in in_order(roles)}
        return diagnose(Finished(results, self.inspected, self.config, curves))

    def ended(self, role: str) -> None:
        """Notes that a stage is over, and how long it took with what came before it."""
        record = self._record
        if record is None:
            return
        now = time.monotonic()
        record["spent_s"][role] = now - self._mark
        self._mark = now
        self._write()

    def started(self) -> None:
        """Notes that all is ready for the first stage: the time until then is none of a stage."""
        if self._record is not None:
            now = time.monotonic()
            before = self._record["spent_s"].get("start", 0.0)
            self._record["spent_s"]["start"] = before + now - self._mark
            self._mark = now
            self._write()

    def _write(self) -> None:
        if self._record is not None:
            schemas.write(self._folder / FILE, self._record, AdviceFile)
