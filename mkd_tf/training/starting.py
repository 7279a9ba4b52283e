"""What the networks of a stage start from: random weights, or those of a larger network."""

from collections.abc import Callable, Mapping

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.config import Config, RolesConfig
from mkd_tf.detectors import Detector, Ensemble
from mkd_tf.detectors.ensemble import Combined
from mkd_tf.registry import parse_chains
from mkd_tf.starts import STARTS, Start
from mkd_tf.training.fine_tuning import is_pretrained
from mkd_tf.training.images import Images
from mkd_tf.training.plan import Stage

LEAST_SHARE = 0.5
"""By default a network inherits where at least this share of its weights is in layers of equal names."""


def starts_of(spec: str, seed: int = 0) -> list[Start]:
    """Builds the starts of `--start`, which follow one another: `uniform+imitation(steps=200)`.

    Raises:
      MkdError: if there is not one chain, or a start is unknown.
    """
    chains = parse_chains(spec, "start")
    if len(chains) != 1:
        fail("start", expected="one start, or several joined by +", got=repr(spec), do="Join them by +.")
    starts = [STARTS.build(link) for link in chains[0]]
    for start in starts:
        start.run_seed = seed
    return starts


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
    own = set(learning)  # Those that still have weights of their own.
    # The guide first: a student may inherit from one that learns in the same stage.
    for name in sorted(learning):
        role = "guide" if name == "guide" else stage.role
        spec = stage.guide if name == "guide" else stage.network
        sources = [s for s in sources_of(role, spec, config.roles) if s in trained or s in learning]
        is_auto = init_of(role, config.roles) == "auto"
        if is_auto:
            # What a network that learns nothing from anybody yet could hand on is noise.
            sources = [s for s in sources if s not in own]
        network, before, refused = learning[name], learning[name].get_weights(), []
        sizes = {layer.name: layer.count_params() for layer in network.core.layers if layer.weights}
        for source in sources:
            large = first_network(learning[source] if source in learning else trained[source])
            inherited, drawn = _start(network, large, images, config)
            rest = [layer for layer in sizes if layer not in inherited]
            share = 1 - sum(sizes[layer] for layer in rest) / sum(sizes.values())
            if is_auto and share < LEAST_SHARE:
                network.set_weights(before)
                refused.append(f"{share:.0%} ({source})")
                continue
            own.discard(name)
            fresh = f", but for {', '.join(rest)}" if rest else ""
            partly = f"; new weights in a share of {', '.join(drawn)}" if drawn else ""
            say(f"{role}: starts from the {source}{fresh}{partly}")
            break
        else:
            if refused:
                # Measured with teachers from ImageNet: such a guide is worth 3 to 5 AP (docs/experiments.md).
                through = (
                    " A larger network of its own family as --guide hands on its channels, too."
                    if role == "student" and "guide" not in sources
                    else ""
                )
                say(
                    f"{role}: keeps its own initial weights, as only {', '.join(refused)} of them are in "
                    "layers that the larger network has too; "
                    f"--{role}_init={sources[-1]} --start=uniform+imitation takes what there is.{through}"
                )


def _start(
    network: Detector, large: Detector, images: Images, config: Config
) -> tuple[set[str], tuple[str, ...]]:
    """Runs the starts; returns the layers that inherited, and those of which a share was drawn anew."""
    pool = np.concatenate([images.labelled, images.unlabelled])
    inherited: set[str] = set()
    drawn: tuple[str, ...] = ()
    for start in starts_of(config.roles.start, config.run.seed):
        chosen = np.sort(np.random.default_rng(config.run.seed).permutation(pool)[: start.images])
        done = start(network, large, images.store.images(chosen))
        inherited |= {*done.layers}
        drawn += done.drawn
    return inherited, drawn


def init_of(role: str, roles: RolesConfig) -> str:
    """Returns what a role starts from: `random`, `auto` or a role."""
    return {"guide": roles.guide_init, "student": roles.student_init}.get(role, "random")


def sources_of(role: str, spec: str, roles: RolesConfig) -> list[str]:
    """Returns the roles that `role` may inherit from, the preferred one first.

    With `auto`, a network keeps pretrained weights that it was given: of a backbone, or of a student.
    """
    init = init_of(role, roles)
    if init != "auto":
        return [] if init == "random" else [init]
    if role == "student" and roles.student_weights:
        return []
    if is_pretrained(spec, roles):
        return []
    return ["guide", "teacher"] if role == "student" else ["teacher"]
