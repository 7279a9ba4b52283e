"""What the networks of a stage leave of `mkd`, the whole method.

Its feature parts ask for more than some sources have: pyramid maps by their names, grids in
common with the student, a head that predicts from the pyramid alone. Who says `mkd` wants
what can be had with this teacher: a part that its source cannot give is learned from
the other source, or left out, and the run says so. A part that was asked for by name stays, and
its error with it.
"""

from collections.abc import Mapping

from mkd_tf.checks import MkdError
from mkd_tf.registry import Spec, parse_specs
from mkd_tf.strategies import STRATEGIES, Port


def obtainable(strategies: str, ports: Mapping[str, Port]) -> tuple[str, list[str]]:
    """Chooses the parts of the whole method that the networks of a stage have.

    Args:
      strategies: calls, comma-separated, of which any may be left out but those that need predictions alone.
      ports: of the networks of the stage, by role; `student` among them.

    Returns:
      The strategies that are left, and a line on each that is not as it was.
    """
    kept: list[Spec] = []
    said: list[str] = []
    for spec in parse_specs(strategies, "strategies"):
        refused = _refusal(spec, ports)
        # Predictions are every source's: what is wrong with them is a mistake in the run.
        if not refused or getattr(STRATEGIES[spec.name], "from_detections", False):
            kept.append(spec)
            continue
        own = STRATEGIES.build(spec).source
        others = [
            Spec(spec.name, {**spec.arguments, "source": r}) for r in ports if r not in (own, "student")
        ]
        instead = next((other for other in others if not _refusal(other, ports)), None)
        if instead is None:
            said.append(f"mkd goes without {spec.name} ({refused})")
        else:
            kept.append(instead)
            said.append(f"{spec.name} of mkd learns from the {instead.arguments['source']} ({refused})")
    return ", ".join(map(str, kept)), said


def _refusal(spec: Spec, ports: Mapping[str, Port]) -> str:
    """Returns why a strategy cannot be connected; empty if it can."""
    strategy = STRATEGIES.build(spec)
    try:
        strategy.connect(ports)
    except MkdError as error:
        return error.reason
    return ""
