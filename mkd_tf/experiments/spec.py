"""The file that describes an ablation, in TOML.

    flagfile = "configs/quickstart.cfg"     # what all cells have in common
    seeds = [0, 1, 2, 3, 4]
    teachers = 2                            # seed i learns from teacher i mod 2
    control = "soft_targets"                # the arm that the others are compared with

    [datasets]
    shapes = "shapes(train=1600, unlabelled=800, size=128)"
    [networks]
    student = "tiny(size='student')"
    [arms.soft_targets]
    strategies = "soft_classes, soft_boxes(weight=2.0)"
    [arms.no_box_term]
    strategies = "soft_classes"
    [arms.cap]
    sweep = {gradient_cap = [0.5, 1.0]}     # the arms cap_gradient_cap=0.5 and cap_gradient_cap=1.0
    [arms.hint]
    strategies = "soft_classes, hint(weight={w})"
    sweep = {w = [0.1, 1.0]}                # a name in braces is replaced instead

Whatever else stands in an arm, and all of `[flags]`, are flags of `mkd_tf.train`. A data
set or a network is a spec, or a table of flags. `[rule]` holds the rule of the verdict.
"""

import itertools
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import options

MOST_ARMS = 1000
"""Of an ablation, its sweeps expanded."""
Value = bool | int | float | str
Flags = dict[str, Value]
# Set by the ablation itself, for every cell.
_OWN = ("workdir", "seed", "guide_weights", "minutes")
# A name is a folder's, and part of a line of CSV.
_NAME = re.compile(r"[A-Za-z0-9][\w.=+-]*")


class Rule(BaseModel):
    """When an arm counts as better, no better or worse than its control.

    Attributes:
      margin: smallest mean difference in AP that counts.
      level: of the intervals.
      least_seeds: with fewer pairs there is no interval over seeds, and no verdict.
      draws: of the bootstrap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    margin: float = Field(default=0.3, ge=0)
    level: float = Field(default=0.95, gt=0, lt=1)
    least_seeds: int = Field(default=3, ge=2)
    draws: int = Field(default=2000, ge=100)

    def __str__(self) -> str:
        m, level = f"{self.margin:g}", f"{100 * self.level:g} %"
        return (
            f"better: mean difference of at least +{m} AP and the {level} interval above 0; "
            f"worse: at most -{m} AP and the interval below 0; "
            f"no better: within {m} AP and the interval holds 0; "
            f"else, and with fewer than {self.least_seeds} seeds: more seeds"
        )


class Arm(BaseModel):
    """Flags that an arm adds.

    Attributes:
      control: the arm it is compared with, where that is not the ablation's.
      sweep: values of flags, or of names in braces, that each make an arm of their own.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Value]
    control: str = ""
    sweep: dict[str, list[Value]] = {}

    @property
    def flags(self) -> Flags:
        return dict(self.__pydantic_extra__)

    def expanded(self, name: str) -> dict[str, "Arm"]:
        """Returns the arms of a sweep by name; an arm without one is itself."""
        found = {}
        for values in itertools.product(*self.sweep.values()):
            chosen, flags = dict(zip(self.sweep, values, strict=True)), self.flags
            for key, value in chosen.items():
                place, texts = f"{{{key}}}", [f for f, v in flags.items() if isinstance(v, str)]
                used = [f for f in texts if place in str(flags[f])]
                flags |= {f: str(flags[f]).replace(place, text(value)) for f in used}
                if not used:
                    flags[key] = value
            ending = "".join(f"_{key}={text(value)}" for key, value in chosen.items())
            found[name + ending] = Arm(control=self.control, **flags)  # type: ignore[arg-type]
        return found


class Experiment(BaseModel):
    """An ablation, as its file describes it; `arms` are expanded."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    flagfile: str = ""
    seeds: list[int] = Field(min_length=1)
    teachers: int = Field(default=1, ge=1)
    control: str
    ceiling: str = ""
    flags: Flags = {}
    datasets: dict[str, str | Flags] = Field(min_length=1)
    networks: dict[str, str | Flags] = Field(min_length=1)
    arms: dict[str, Arm] = Field(min_length=2)
    rule: Rule = Rule()

    def dataset_flags(self, name: str) -> Flags:
        """Returns the flags that a data set stands for."""
        return _as_flags(self.datasets[name], "dataset")

    def network_flags(self, name: str) -> Flags:
        """Returns the flags that a network stands for."""
        return _as_flags(self.networks[name], "student")

    def control_of(self, arm: str) -> str:
        """Returns the arm that `arm` is compared with."""
        return self.arms[arm].control or self.control

    @property
    def compared(self) -> list[str]:
        """The arms that have a control."""
        return [arm for arm in self.arms if arm != self.control_of(arm) and arm != self.control]


def _as_flags(given: str | Flags, name: str) -> Flags:
    return {name: given} if isinstance(given, str) else dict(given)


def text(value: Value) -> str:
    """Returns a value as a flag takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(experiment: Experiment, where: str) -> None:
    for kind in ("arms", "datasets", "networks"):
        for name in getattr(experiment, kind):
            if not _NAME.fullmatch(name):
                fail(
                    f"{where}: {kind}",
                    expected="names of letters, digits and _.=+-",
                    got=repr(name),
                    do="Rename it.",
                )
    if len(set(experiment.seeds)) < len(experiment.seeds):
        fail(f"{where}: seeds", expected="each once", got=str(experiment.seeds), do="Remove the repetition.")
    if experiment.teachers > len(experiment.seeds):
        fail(
            f"{where}: teachers",
            expected=f"at most the {len(experiment.seeds)} seeds",
            got=str(experiment.teachers),
            do="Lower it, or add seeds.",
        )
    named = {"control": experiment.control, "ceiling": experiment.ceiling}
    named |= {f"control of {name}": arm.control for name, arm in experiment.arms.items()}
    for what, arm in named.items():
        if arm and arm not in experiment.arms:
            known = ", ".join(experiment.arms)
            fail(f"{where}: {what}", expected=f"an arm: {known}", got=repr(arm), do="Correct the name.")
    tables = {f"arms.{name}": arm.flags for name, arm in experiment.arms.items()}
    tables |= {f"datasets.{name}": experiment.dataset_flags(name) for name in experiment.datasets}
    tables |= {f"networks.{name}": experiment.network_flags(name) for name in experiment.networks}
    for table, flags in {"flags": experiment.flags, **tables}.items():
        check_distribution(f"{where}: {table}", flags)
        for name, value in flags.items():
            if isinstance(value, str) and not value.isprintable():
                do = "End the lines of a text of several with a backslash."
                fail(f"{where}: {table}: {name}", expected="one line of text", got=repr(value)[:60], do=do)
            if name not in options() or name in _OWN:
                fail(
                    f"{where}: {table}",
                    expected="flags of mkd_tf.train that the ablation does not set itself",
                    got=name,
                    do="Correct the name, or leave it out.",
                )


def check_distribution(where: str, flags: Mapping[str, Value]) -> None:
    """Raises `MkdError` for several workers: cells are processes of their own, without a TF_CONFIG."""
    if flags.get("distribution") == "multi_worker":
        fail(
            where,
            expected="trainings of one process each",
            got="distribution=multi_worker",
            do="Leave it out, and share the cells among machines: mkd ablate --shard=0/2 and --shard=1/2.",
        )


def read_experiment(path: str | Path) -> Experiment:
    """Returns the ablation that a TOML file describes, its sweeps expanded.

    Raises:
      MkdError: if it cannot be read, or names something unknown.
    """
    try:
        content: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MkdError(f"{path}: cannot be read: {error.strerror}. Give --file=...") from None
    except (ValueError, RecursionError) as error:  # Thousands of brackets end the parser.
        raise MkdError(f"{path}: not TOML: {error}. Correct the file.") from None
    try:
        given = Experiment.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MkdError(
            f"{path}: {place}: {first['msg']}, got {str(first['input'])[:80]!r}. Correct the file."
        ) from None
    count = sum(math.prod(len(values) for values in arm.sweep.values()) for arm in given.arms.values())
    if count > MOST_ARMS:
        fail(f"{path}: arms", expected=f"at most {MOST_ARMS:,}", got=f"{count:,}", do="Shorten the sweeps.")
    arms = {n: made for name, arm in given.arms.items() for n, made in arm.expanded(name).items()}
    experiment = given.model_copy(update={"arms": arms})
    _check(experiment, str(path))
    return experiment


def flagfile_values(path: str | Path, within: tuple[Path, ...] = ()) -> dict[str, str]:
    """Returns the values of a flagfile by name, with those of the flagfiles in it.

    Raises:
      MkdError: if one cannot be read, or names itself; `within` are those that named this one.
    """
    found: dict[str, str] = {}
    where = Path(path).absolute()
    if where in within:
        fail(f"flagfile {path}", expected="other files", got="itself again", do="Remove its --flagfile.")
    try:
        lines = where.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise MkdError(f"flagfile {path}: cannot be read: {error}. Correct flagfile.") from None
    for line in lines:
        match = re.fullmatch(r"\s*--?(\w+)(?:=(.*))?", line)
        if match is None:
            continue
        name, value = match[1], match[2]
        if name == "flagfile":
            found |= flagfile_values(value or "", (*within, where))
        elif value is not None:
            found[name] = value
        elif name not in options() and name.removeprefix("no") in options():
            found[name.removeprefix("no")] = "false"
        else:
            found[name] = "true"
    return found
