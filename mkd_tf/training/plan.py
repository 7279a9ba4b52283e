"""The stages of a run: its roles, the sources of each, and the compressions."""

import dataclasses

from mkd_tf.checks import fail
from mkd_tf.compression import METHODS
from mkd_tf.compression.methods import connected
from mkd_tf.config import CompressionConfig, RolesConfig
from mkd_tf.registry import parse_chains
from mkd_tf.training.answer_terms import answers_only, guide_terms, student_terms

FEATURES = "rise=0.1, fall=0.2"
MKD = (
    "soft_classes, soft_boxes(weight=2.0), "
    f"layer_relation(weight=1.0, {FEATURES}), attention_map(weight=0.1, {FEATURES}), "
    f"hint(source='SOURCE', weight=0.1, {FEATURES}), exploration(weight=0.5, {FEATURES})"
)
"""The strategies of `--strategies=mkd`; the source of hints is the guide, if there is one."""


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
    """

    role: str
    network: str
    epochs: int
    strategies: str = ""
    sources: tuple[str, ...] = ()
    guide: str = ""
    start: str = ""
    method: str = ""


def expanded(strategies: str, has_guide: bool) -> str:
    """Returns `strategies`; for `mkd`, the specs of the whole method."""
    if strategies.strip() != "mkd":
        return strategies
    return MKD.replace("SOURCE", "guide" if has_guide else "teacher")


def plan(roles: RolesConfig, compression: CompressionConfig | None = None) -> list[Stage]:
    """Returns the stages of a run in their order; a role learns from earlier ones.

    Raises:
      MkdError: if `--compress` cannot be read, or names an unknown method.
    """
    has_network = not answers_only(roles.teacher)
    stages = [Stage("teacher", roles.teacher, roles.teacher_epochs)] if has_network else []
    sources = ("teacher", "guide") if roles.has_guide else ("teacher",)
    learns_along = roles.has_guide and roles.guide_mode == "learning"
    if roles.has_guide and not learns_along:
        stages.append(Stage("guide", roles.guide, roles.guide_epochs, guide_terms(roles), ("teacher",)))
    if roles.baseline:
        stages.append(Stage("student_alone", roles.student, roles.student_epochs))
    guide = roles.guide if learns_along else ""
    specs = student_terms(expanded(roles.strategies, roles.has_guide), roles)
    stages.append(Stage("student", roles.student, roles.student_epochs, specs, sources, guide))
    if compression is None or not compression.compress:
        return stages
    if compression.compress_strategies:
        specs = student_terms(expanded(compression.compress_strategies, roles.has_guide), roles)
    return stages + _compressions(roles.student, compression, specs, sources)


def _compressions(
    student: str, compression: CompressionConfig, strategies: str, sources: tuple[str, ...]
) -> list[Stage]:
    """Returns a stage for every method of `--compress`; a common beginning of two chains is one stage."""
    stages: dict[str, Stage] = {}
    for alone in (False, True) if compression.compress_baseline else (False,):
        taught = ("", ()) if alone else (strategies, sources)
        for chain in parse_chains(compression.compress, "compress"):
            start, name = "student", "student"
            for spec in connected(chain):
                name = f"{name}_{METHODS.build(spec).name}"
                # "student_alone" never had a teacher; here it is the stage that has none.
                role = f"{name}_alone" if alone else name
                stage = Stage(
                    role, student, compression.compress_epochs, *taught, start=start, method=str(spec)
                )
                if stages.setdefault(role, stage) != stage:
                    fail(
                        "compress",
                        expected="each method once, or with the same arguments",
                        got=f"{stages[role].method} and {spec}",
                        do="Train one of them in another --workdir.",
                    )
                start = role
    return list(stages.values())
