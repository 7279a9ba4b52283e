"""The stages of a run: which roles there are, and who learns from whom."""

import dataclasses

from mkd_tf.config import RolesConfig


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one role is and from whom it learns.

    Attributes:
      role: name of the stage and its folder.
      network: the detector's spec.
      epochs: length.
      strategies: specs of what is imitated, comma-separated.
      sources: roles that it learns from, trained before it.
    """

    role: str
    network: str
    epochs: int
    strategies: str = ""
    sources: tuple[str, ...] = ()


def plan(roles: RolesConfig) -> list[Stage]:
    """Returns the stages of a run in their order; a role learns from earlier ones."""
    stages = [Stage("teacher", roles.teacher, roles.teacher_epochs)]
    sources: tuple[str, ...] = ("teacher",)
    if roles.has_guide:
        stages.append(Stage("guide", roles.guide, roles.guide_epochs, roles.guide_strategies, sources))
        sources = ("teacher", "guide")
    if roles.baseline:
        stages.append(Stage("student_alone", roles.student, roles.student_epochs))
    stages.append(Stage("student", roles.student, roles.student_epochs, roles.strategies, sources))
    return stages
