"""The stages of a run: its roles, the sources of each, and the compressions."""

import dataclasses

from mkd_tf.checks import fail
from mkd_tf.compression import METHODS
from mkd_tf.compression.methods import connected
from mkd_tf.config import CompressionConfig, RolesConfig
from mkd_tf.registry import parse_chains
from mkd_tf.training.answer_terms import answers_only, guide_terms, student_terms

MKD = "mkd"
"""The word of `--strategies` that stands for the whole method."""
SOFT_SHARES = "soft_classes(weight=0.5), soft_boxes(weight=0.5)"
"""Soft targets of `mkd`: each half of the task's gradient."""
_FIRST = "end=0.6"
_MKD = (
    f"{SOFT_SHARES}, cross_head(weight=0.3), "
    f"attention_map(weight=0.2, centred=True, {_FIRST}), layer_relation(weight=0.2, form='svd', {_FIRST}), "
    f"hint(source='SOURCE', weight=0.2, components=8, levels='objects', {_FIRST})"
)
# What is known of these parts, and why exploration is not among them, is in docs/experiments.md.


@dataclasses.dataclass(frozen=True)
class Stage:
    """The training of one role.

    Attributes:
      role: name of the stage and its folder.
      network: the detector's spec.
      epochs: length.
      strategies: specs, comma-separated.
      sources: roles that it learns from; trained before it, but for a guide that learns too.
      guide: spec of a guide that learns in the same stage; empty where none does.
      start: role whose trained network a compression begins with.
      method: spec of the compression; empty where there is none.
      balance: what a strategy's weight is, a mode of `Balance`.
      is_whole: whether `strategies` were `mkd`, whose parts are left out where a source lacks them.
    """

    role: str
    network: str
    epochs: int
    strategies: str = ""
    sources: tuple[str, ...] = ()
    guide: str = ""
    start: str = ""
    method: str = ""
    balance: str = "fixed"
    is_whole: bool = False


def is_whole(strategies: str) -> bool:
    """Returns whether `--strategies` is the whole method by its word."""
    return strategies.strip() == MKD


def expanded(strategies: str, has_guide: bool) -> str:
    """Returns `strategies`; for `mkd`, the specs of the whole method; hints come from a guide, if any."""
    if not is_whole(strategies):
        return strategies
    return _MKD.replace("SOURCE", "guide" if has_guide else "teacher")


def balance_of(strategies: str, balance: str) -> str:
    """Returns the mode of a stage's balance; `auto` holds shares of the gradient for `mkd` alone."""
    if balance != "auto":
        return balance
    return "gradient_share" if is_whole(strategies) else "fixed"


def plan(
    roles: RolesConfig, compression: CompressionConfig | None = None, balance: str = "auto"
) -> list[Stage]:
    """Returns the stages of a run in their order; a role learns from earlier ones.

    Args:
      roles: of the run.
      compression: of its student, or None.
      balance: the flag.

    Raises:
      MkdError: if `--compress` cannot be read, or names an unknown method.
    """
    has_network = not answers_only(roles.teacher)
    stages = [Stage("teacher", roles.teacher, roles.teacher_epochs)] if has_network else []
    sources = ("teacher", "guide") if roles.has_guide else ("teacher",)
    learns_along = roles.has_guide and roles.guide_mode == "learning"
    if roles.has_guide and not learns_along:
        mode = balance_of(roles.guide_strategies, balance)
        terms = guide_terms(roles)
        stages.append(Stage("guide", roles.guide, roles.guide_epochs, terms, ("teacher",), balance=mode))
    if roles.baseline:
        stages.append(Stage("student_alone", roles.student, roles.student_epochs))

    def taught(strategies: str) -> Stage:
        return Stage(
            *("student", roles.student, roles.student_epochs),
            strategies=student_terms(expanded(strategies, roles.has_guide), roles),
            sources=sources,
            guide=roles.guide if learns_along else "",
            balance=balance_of(strategies, balance),
            is_whole=is_whole(strategies),
        )

    stages.append(taught(roles.strategies))
    if compression is None or not compression.compress:
        return stages
    return stages + _compressions(taught(compression.compress_strategies or roles.strategies), compression)


def _compressions(student: Stage, compression: CompressionConfig) -> list[Stage]:
    """Returns a stage for every method of `--compress`; a common beginning of two chains is one stage.

    Args:
      student: the stage before them, with the strategies that they have.
      compression: of the run.
    """
    stages: dict[str, Stage] = {}
    for alone in (False, True) if compression.compress_baseline else (False,):
        taught = Stage("student", student.network, 0) if alone else student
        taught = dataclasses.replace(taught, epochs=compression.compress_epochs, guide="")
        for chain in parse_chains(compression.compress, "compress"):
            start, name = "student", "student"
            for spec in connected(chain):
                name = f"{name}_{METHODS.build(spec).name}"
                # "student_alone" never had a teacher; here it is the stage that has none.
                role = f"{name}_alone" if alone else name
                stage = dataclasses.replace(taught, role=role, start=start, method=str(spec))
                if stages.setdefault(role, stage) != stage:
                    fail(
                        "compress",
                        expected="each method once, or with the same arguments",
                        got=f"{stages[role].method} and {spec}",
                        do="Train one of them in another --workdir.",
                    )
                start = role
    return list(stages.values())
