"""What a teacher that only answers with detections leaves of a run's stages and strategies.

Its detections are labels of images without labels, and soft classes and boxes at the anchors
that they are assigned to. Strategies that read dense predictions or features have nothing to
read: with a guide they learn from the guide, unless their own `source=` says otherwise.
"""

import re

from mkd_tf.checks import fail
from mkd_tf.config import RolesConfig
from mkd_tf.registry import Spec, parse_specs
from mkd_tf.strategies import STRATEGIES
from mkd_tf.teachers import TEACHERS


def answers_only(teacher: str) -> bool:
    """Returns whether `--teacher` names a teacher of the table TEACHERS: no network of it is trained."""
    name = re.match(r"\s*([A-Za-z_]\w*)", teacher)
    return name is not None and name[1] in TEACHERS.entries


def check_answers(roles: RolesConfig) -> None:
    """Raises `MkdError` for options that ask a teacher without a network for one."""
    if roles.teacher_weights:
        fail(
            "teacher_weights",
            expected=f"nothing beside --teacher={roles.teacher}",
            got=roles.teacher_weights,
            do="Give either the .keras file or the teacher that only answers with detections.",
        )
    for option, value in (("guide_init", roles.guide_init), ("student_init", roles.student_init)):
        if value == "teacher":
            fail(
                option,
                expected="auto, random" + (" or guide" if option == "student_init" else ""),
                got="teacher",
                do=f"--teacher={roles.teacher} has no weights to start from.",
            )


def is_enough(spec: Spec) -> bool:
    """Returns whether a strategy reads no more of the teacher than its predictions."""
    learns_from_guide = spec.arguments.get("source", "teacher") == "guide"
    return learns_from_guide or getattr(STRATEGIES[spec.name], "from_detections", False)


def usable(strategies: str, has_guide: bool) -> tuple[str, str]:
    """Chooses the strategies for which a teacher's detections, or a guide, are enough.

    Args:
      strategies: calls, comma-separated.
      has_guide: whether a guide can be the source instead.

    Returns:
      The strategies that are left, and what is said of the others, empty where there are none.
    """
    kept: list[Spec] = []
    moved: list[str] = []
    off: list[str] = []
    for spec in parse_specs(strategies, "strategies"):
        if is_enough(spec):
            kept.append(spec)
        elif has_guide and "source" not in spec.arguments:
            kept.append(Spec(spec.name, {**spec.arguments, "source": "guide"}))
            moved.append(spec.name)
        else:
            off.append(spec.name)
    clauses = []
    if moved:
        clauses.append(f"the guide, not the teacher, is the source of {', '.join(moved)}")
    if off:
        clauses.append(f"off are {', '.join(off)}")
    return ", ".join(map(str, kept)), "; ".join(clauses)


def student_terms(strategies: str, roles: RolesConfig) -> str:
    """Returns the strategies of a student that its teacher is enough for."""
    return usable(strategies, roles.has_guide)[0] if answers_only(roles.teacher) else strategies


def guide_terms(roles: RolesConfig) -> str:
    """Returns the strategies of the guide that its teacher is enough for."""
    specs = roles.guide_strategies
    return usable(specs, has_guide=False)[0] if answers_only(roles.teacher) else specs


def said_of(roles: RolesConfig, strategies: str) -> list[str]:
    """Returns the lines on what a run does and leaves out; `strategies` are the student's, written out."""
    lines = [f"teacher: {roles.teacher}, which only answers with detections: none is trained"]
    parts = [("student", strategies, roles.has_guide)]
    if roles.has_guide:
        parts.insert(0, ("guide", roles.guide_strategies, False))
    for role, specs, has_guide in parts:
        clause = usable(specs, has_guide)[1]
        if clause:
            lines.append(f"{role}: {clause}, which need a source with features or dense predictions")
    return lines
