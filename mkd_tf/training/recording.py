"""What a run measures of its networks and writes: `best.keras`, `done.json`, `results.json`, examples."""

import resource
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from mkd_tf.config import Config
from mkd_tf.data.base import Dataset
from mkd_tf.detectors import Detector
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.gallery import write_examples
from mkd_tf.evaluation.results import (
    commit,
    empty_results,
    merge_role,
    percent,
    read_results,
    results_table,
    take_results,
    write_results,
)
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.schemas.training import ResultsFile, Role
from mkd_tf.training.advice import Advice
from mkd_tf.training.finished import write_done
from mkd_tf.training.measuring import Measuring
from mkd_tf.training.plan import Stage
from mkd_tf.training.stage import Outcome
from mkd_tf.training.workers import Workers


class Recording:
    """The results of a run in its work directory, which the chief writes and other workers read.

    Args:
      config: of the run.
      command: that began it, quoted in `results.json`.
      dataset: of the run.
      measuring: measures its networks.
      console: where lines are printed.
      workers: of the run.

    Attributes:
      results: what `results.json` holds.
    """

    def __init__(
        self,
        config: Config,
        command: str,
        dataset: Dataset,
        measuring: Measuring,
        console: Console,
        workers: Workers,
    ):
        self._config, self._dataset, self._measuring = config, dataset, measuring
        self._console, self._workers = console, workers
        self._folder = Path(config.run.workdir)
        path = self._folder / "results.json"
        before, damage = workers.on_chief(lambda: take_results(path)) or (empty_results(), "")
        if damage:
            self._say(damage)
        self.results: ResultsFile = {
            "schema": 1,
            "command": command,
            "commit": commit(),
            "dataset": {"name": config.data.dataset, "classes": list(dataset.class_names)},
            "image_size": config.roles.image_size,
            "roles": before["roles"],
            "files": before["files"],
        }
        if "teacher_labels" in before:
            self.results["teacher_labels"] = before["teacher_labels"]
        if "teacher_gate" in before:
            self.results["teacher_gate"] = before["teacher_gate"]

    def _say(self, text: str) -> None:
        say(self._console, text)

    def follow(self) -> None:
        """Reads what the chief has written meanwhile, on the other workers; all call it."""
        path = self._workers.same_file(self._folder / "results.json")
        if not self._workers.is_chief and path.exists():
            self.results = read_results(path)

    def note(self, **keys: Any) -> None:
        """Writes further keys of `results.json`."""
        self.results = cast(ResultsFile, {**self.results, **keys})
        write_results(self._folder / "results.json", self.results)

    def role(self, role: str, entry: Role) -> None:
        """Writes what is known of a role."""
        self.results = merge_role(self.results, role, entry)
        write_results(self._folder / "results.json", self.results)

    def save_best(self, role: str, network: Detector) -> None:
        """Writes the weights of a role of which no epoch is selected, with its operating point."""
        self._measuring.point(network)
        save_detector(network, self._folder / role / "best.keras")

    def stage(
        self,
        stage: Stage,
        steps: int,
        outcome: Outcome,
        averaged: dict[str, Any],
        teacher: Detector | None,
    ) -> None:
        """Measures what a stage has trained in so many steps, and marks it as done."""
        entry: dict[str, Any] = {"epochs": stage.epochs, "steps": steps}
        entry["seconds"] = round(outcome.seconds, 1)
        if stage.guide:
            # No epoch is selected for the guide: its last weights are its best.
            self.save_best("guide", averaged["guide"])
            self.finish("guide", averaged["guide"], dict(entry), teacher)
        entry["best_epoch"] = outcome.best_epoch
        self.finish(stage.role, outcome.final, entry, teacher)

    def finish(self, role: str, detector: Detector, entry: dict[str, Any], teacher: Detector | None) -> None:
        """Measures a trained role on the test split, marks its stage as done."""
        whole = cast(Role, self._measuring.measure(detector, teacher) | entry)
        if entry.get("best_epoch") not in (None, entry["epochs"]):
            whole["best_AP"] = self._measuring.ap(load_detector(self._folder / role / "best.keras"))
        write_done(self._folder / role, whole)
        found = f"AP {percent(whole['AP'])}, AP50 {percent(whole['AP50'])}"
        self._say(f"{role}: test {found}, {entry['seconds']:.0f} s")
        self.role(role, whole)

    def show(self, networks: dict[str, Detector], advice: Advice) -> None:
        """Prints the table and the diagnosis, and draws the detections of each role."""
        for network in networks.values():
            self._measuring.point(network)
        runners = {role: KerasRunner(network) for role, network in networks.items()}
        answers = {} if self._measuring.answers is None else {"teacher": self._measuring.answers}
        write_examples(self._folder, self._dataset.split("test"), runners, self._config.data.fit, answers)
        self._console.print(results_table(self.results))
        self.note(diagnosis=advice.diagnose(self.results))
        for finding in self.results["diagnosis"]:
            self._say(f"diagnosis: {finding['text']}")
        self._say(f"results: {self._folder / 'results.json'}; images: {self._folder / 'examples.png'}")
        # Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self._say(f"peak memory: {peak:.1f} GiB")
