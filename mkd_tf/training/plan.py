"""The stages of a run: which roles there are, and who learns from whom."""

import dataclasses

from mkd_tf.config import RolesConfig

FEATURES = "rise=0.1, fall=0.2"
MKD = (
    "soft_classes, soft_boxes(weight=2.0), "
    f"layer_relation(weight=1.0, {FEATURES}), attention_map(weight=0.1, {FEATURES}), "
    f"hint(source='SOURCE', weight=0.1, {FEATURES}), exploration(weight=0.5, {FEATURES})"
)
"""The whole method: what `--strategies=mkd` stands for; hints come from the guide, if there is one."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one role is and from whom it learns.

    Attributes:
      role: name of the stage and its folder.
      network: the detector's spec.
      epochs: length.
      strategies: specs of what is imitated, comma-separated.
      sources: roles that it learns from; trained before it, but for a guide that learns too.
      guide: spec of a guide that learns in the same stage; empty where none does.
    """

    role: str
    network: str
    epochs: int
    strategies: str = ""
    sources: tuple[str, ...] = ()
    guide: str = ""


def expanded(strategies: str, has_guide: bool) -> str:
    """Returns the specs that `mkd` stands for, or those given."""
    if strategies.strip() != "mkd":
        return strategies
    return MKD.replace("SOURCE", "guide" if has_guide else "teacher")


def plan(roles: RolesConfig) -> list[Stage]:
    """Returns the stages of a run in their order; a role learns from earlier ones."""
    stages = [Stage("teacher", roles.teacher, roles.teacher_epochs)]
    sources: tuple[str, ...] = ("teacher",)
    learns_along = roles.has_guide and roles.guide_mode == "learning"
    if learns_along:
        sources = ("teacher", "guide")
    elif roles.has_guide:
        stages.append(Stage("guide", roles.guide, roles.guide_epochs, roles.guide_strategies, sources))
        sources = ("teacher", "guide")
    if roles.baseline:
        stages.append(Stage("student_alone", roles.student, roles.student_epochs))
    guide, specs = roles.guide if learns_along else "", expanded(roles.strategies, roles.has_guide)
    stages.append(Stage("student", roles.student, roles.student_epochs, specs, sources, guide))
    return stages
