"""What the networks of a stage start from: random weights, or those of a larger network."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.config import Config, RolesConfig
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
    # The guide first: a student may inherit from one that learns in the same stage.
    for name in sorted(learning):
        role = "guide" if name == "guide" else stage.role
        available = {**trained, **{n: d for n, d in learning.items() if n != name}}
        source = source_of(role, config.roles, available)
        if not source:
            continue
        network, before = learning[name], learning[name].get_weights()
        large = first_network(available[source])
        pool = np.concatenate([images.labelled, images.unlabelled])
        inherited: set[str] = set()
        for start in starts_of(config.roles.start):
            chosen = np.sort(np.random.default_rng(config.run.seed).permutation(pool)[: start.images])
            inherited |= {*start(network, large, images.store.images(chosen)).layers}
        layers = [layer.name for layer in network.core.layers if layer.weights]
        rest = [layer for layer in layers if layer not in inherited]
        if init_of(role, config.roles) == "auto" and len(rest) > len(inherited):
            network.set_weights(before)
            say(
                f"{role}: starts from random weights, as only {len(inherited)} of {len(layers)} layers are "
                f"common with the {source}; --{role}_init={source} --start=imitation trains the others"
            )
            continue
        fresh = f", but for {', '.join(rest)}" if rest else ""
        say(f"{role}: starts from the {source}{fresh}")


def init_of(role: str, roles: RolesConfig) -> str:
    """Returns what a role starts from: `random`, `auto` or a role."""
    return {"guide": roles.guide_init, "student": roles.student_init}.get(role, "random")


def source_of(role: str, roles: RolesConfig, available: Collection[str]) -> str:
    """Returns the role that `role` inherits from; an empty string where it starts from weights of its own."""
    init = init_of(role, roles)
    if init != "auto":
        return "" if init == "random" else init
    if roles.backbone_weights or (role == "student" and roles.student_weights):
        return ""
    return "guide" if role == "student" and "guide" in available else "teacher"
