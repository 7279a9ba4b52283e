"""What the networks of a stage start from: random weights, or those of a larger network."""

from collections.abc import Callable, Mapping

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.config import Config
from mkd_tf.detectors import Detector, Ensemble
from mkd_tf.detectors.ensemble import Combined
from mkd_tf.registry import parse_chains
from mkd_tf.starts import STARTS, Start
from mkd_tf.training.images import Images
from mkd_tf.training.plan import Stage


def starts_of(spec: str) -> list[Start]:
    """Builds the starts of `--start`, which follow one another: `uniform+imitation(steps=200)`.

    Raises:
      MkdError: if there is not one chain, or a start is unknown.
    """
    chains = parse_chains(spec, "start")
    if len(chains) != 1:
        fail("start", expected="one start, or several joined by +", got=repr(spec), do="Join them by +.")
    return [STARTS.build(link) for link in chains[0]]


def first_network(detector: Detector) -> Detector:
    """Returns the network whose weights stand for a detector: of several, the first one's."""
    while isinstance(detector, Combined):
        detector = detector.members[0] if isinstance(detector, Ensemble) else detector.network
    return detector


def start_networks(
    stage: Stage,
    learning: Mapping[str, Detector],
    trained: Mapping[str, Detector],
    images: Images,
    config: Config,
    say: Callable[[str], None],
) -> None:
    """Gives the networks of a stage the weights of larger ones, where `config` says so.

    Args:
      stage: a compression starts from its own network and is left alone.
      learning: the networks that the stage trains, `student` for the stage's own.
      trained: the networks of earlier stages, by role.
      images: those a start may look at; no label of them is used.
      config: `guide_init`, `student_init`, `start` and the seed of the choice of images.
    """
    if stage.method:
        return
    roles = config.roles
    inits = {"guide": roles.guide_init, "student": roles.student_init}
    # The guide first: a student may inherit from one that learns in the same stage.
    for name in sorted(learning):
        role = "guide" if name == "guide" else stage.role
        source = inits.get(role, "random")
        if source == "random":
            continue
        large = first_network(learning[source] if source in learning else trained[source])
        pool = np.concatenate([images.labelled, images.unlabelled])
        inherited: set[str] = set()
        for start in starts_of(roles.start):
            chosen = np.sort(np.random.default_rng(config.run.seed).permutation(pool)[: start.images])
            inherited |= {*start(learning[name], large, images.store.images(chosen)).layers}
        layers = [layer.name for layer in learning[name].core.layers if layer.weights]
        rest = [layer for layer in layers if layer not in inherited]
        fresh = f", but for {', '.join(rest)}" if rest else ""
        say(f"{role}: starts from the {source}{fresh}")
