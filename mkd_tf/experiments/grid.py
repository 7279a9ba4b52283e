"""The jobs of an ablation: what is trained, with which flags, and what it waits for.

A *cell* is one arm with one seed on one data set with one network. All cells of a seed
have the same `--seed`, so they have the same split, initial weights and order of data as
their control. Teachers and guides are jobs of their own, which cells share:

- one teacher per data set and seed group, trained with the seed of the group. Arms share
  it unless they change the flag `teacher` or one that begins with `teacher_` (views and
  boxes aside, which are about its use). With `--teacher_labels=same` and some labels only,
  each seed has a teacher of its own, because the seed chooses the labels. A teacher that only
  answers with detections has no job.
- one guide per teacher and per set of `guide...` flags, and where only some labels are
  used one for each seed: a guide of another seed would have seen other labels.

Flags of an arm that are not about the teacher or the guide change the student alone.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from mkd_tf.config import options
from mkd_tf.experiments.spec import Experiment, check_distribution, flagfile_values, text

# About how a teacher is used, not about how it is trained.
_USE_OF_TEACHER = (
    *("teacher_views", "teacher_boxes", "teacher_boxes_iou", "teacher_weights"),
    *("teacher_gate", "teacher_thresholds"),
)
# What a guide's training depends on beside the flags of its own name.
_USE_FOR_GUIDE = ("teacher_boxes", "teacher_boxes_iou", "teacher_thresholds", "class_map", "start")
# What a teacher's or guide's job has of a student: training stops before it, but a process
# that lost its parent goes on, and has to come to an end soon.
_SHORT_STUDENT = {"strategies": "", "student_epochs": "1", "baseline": "false", "compress": ""}


@dataclasses.dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
      name: its folder, relative to that of the ablation.
      flags: of `mkd_tf.train`, without the work directory.
      role: the stage that is wanted; the job is done when this stage is.
      needs: names of the jobs whose networks it uses.
    """

    name: str
    flags: dict[str, str]
    role: str = "student"
    needs: tuple[str, ...] = ()

    @property
    def weights(self) -> str:
        """The file with the network, relative to the folder of the ablation."""
        return f"{self.name}/{self.role}/best.keras"

    @property
    def identity(self) -> dict[str, str]:
        """What its result depends on; it stays the same when the ablation's folder is moved."""
        return _identity(self.flags, self.needs)

    def arguments(self, root: Path) -> list[str]:
        """Returns the arguments of `mkd_tf.train` when the ablation is in the folder `root`."""
        return [*(f"--{name}={value}" for name, value in self.flags.items()), f"--workdir={root / self.name}"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Attributes:
      teacher: seed of the teacher, empty for one that is given as a file.
      job: the training of the student.
      shared: jobs of teacher and guide, in the order in which they are trained.
    """

    arm: str
    dataset: str
    network: str
    seed: int
    teacher: str
    job: Job
    shared: tuple[Job, ...]


def _identity(flags: dict[str, str], needs: tuple[str, ...]) -> dict[str, str]:
    made_here = {f"{name.rsplit('/', 1)[1].split('_')[0]}_weights": name for name in needs}
    return flags | made_here


def _about(flags: dict[str, str], role: str) -> dict[str, str]:
    return {n: v for n, v in flags.items() if n.startswith(role) and n not in _USE_OF_TEACHER}


def default_values() -> dict[str, Any]:
    """Returns the default of every flag of `mkd_tf.train`."""
    return {name: field.default for name, field in options().items()}


def _has_network(teacher: str) -> bool:
    """Whether a spec is of a detector, not of a teacher that only answers."""
    # The table knows, but imports TensorFlow: an ablation starts and trains without it.
    if teacher == default_values()["teacher"]:
        return True
    from mkd_tf.training.answer_terms import answers_only

    return not answers_only(teacher)


class _Grid:
    """Makes the cells of an experiment below the folder `root`."""

    def __init__(self, experiment: Experiment, root: Path):
        self._experiment, self._root = experiment, root
        self._defaults = {name: text(default) for name, default in default_values().items()}
        self._base = flagfile_values(experiment.flagfile) if experiment.flagfile else {}
        check_distribution(f"flagfile {experiment.flagfile}", self._base)
        self._base |= {name: text(value) for name, value in experiment.flags.items()}

    def _shared(
        self, role: str, dataset: str, seed: int, flags: dict[str, str], needs: tuple[Job, ...]
    ) -> Job:
        student = (self._defaults | self._base)["student"]
        flags = flags | _SHORT_STUDENT | {"student": student, "seed": str(seed)}
        if flags.get("student_init") == "guide":
            flags["student_init"] = "auto"  # A teacher's job has no guide.
        names = tuple(job.name for job in needs)
        content = json.dumps(_identity(flags, names), sort_keys=True).encode()
        name = f"shared/{dataset}/{role}_seed{seed}_{hashlib.sha256(content).hexdigest()[:8]}"
        return Job(name, flags, role, names)

    def cell(self, arm: str, dataset: str, network: str, seed: int) -> Cell:
        """Returns one cell with the jobs that it needs."""
        e = self._experiment
        given = e.dataset_flags(dataset) | e.network_flags(network)
        common = self._base | {name: text(value) for name, value in given.items()}
        own = {name: text(value) for name, value in e.arms[arm].flags.items()}
        flags = common | own | {"seed": str(seed)}
        known = self._defaults | flags
        some_labels = int(known["labelled"]) > 0
        group = e.seeds[e.seeds.index(seed) % e.teachers]
        shared: tuple[Job, ...] = ()
        has_network = _has_network(known["teacher"])
        if has_network and not known["teacher_weights"]:
            chosen = seed if some_labels and known["teacher_labels"] == "same" else group
            teachers = common | _about(own, "teacher") | {"guide": "none"}
            shared = (self._shared("teacher", dataset, chosen, teachers, ()),)
            flags["teacher_weights"] = str(self._root / shared[0].weights)
        teacher = shared[0].flags["seed"] if shared else ""
        if known["guide"] not in ("", "none") and known["guide_mode"] == "frozen":
            whose = "teacher_image_size" if has_network else "teacher"
            guides = common | _about(own, "guide") | _about(own, whose)
            guides |= {name: own[name] for name in _USE_FOR_GUIDE if name in own}
            guides |= {n: flags[n] for n in ("teacher_weights",) if n in flags}
            guide = self._shared("guide", dataset, seed if some_labels else group, guides, shared)
            shared = (*shared, guide)
            flags["guide_weights"] = str(self._root / guide.weights)
        name = f"cells/{dataset}/{network}/{arm}/seed{seed}"
        job = Job(name, flags, needs=tuple(job.name for job in shared))
        return Cell(arm, dataset, network, seed, teacher, job, shared)


def cells_of(experiment: Experiment, root: str | Path) -> list[Cell]:
    """Returns all cells, seed by seed, so that those that are compared are done at about the same time.

    Raises:
      MkdError: if the flagfile cannot be read.
    """
    grid = _Grid(experiment, Path(root))
    others = [arm for arm in experiment.arms if arm != experiment.control]
    return [
        grid.cell(arm, dataset, network, seed)
        for seed in experiment.seeds
        for dataset in experiment.datasets
        for network in experiment.networks
        for arm in (experiment.control, *others)
    ]


def jobs_of(cells: list[Cell]) -> list[Job]:
    """Returns the jobs of cells, each once, none before one that it needs."""
    return list({job.name: job for cell in cells for job in (*cell.shared, cell.job)}.values())
