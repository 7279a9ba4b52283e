"""Fine-tuning: a backbone that starts from pretrained weights learns more slowly, or in part not at all.

Only the networks of a run whose backbone is pretrained are concerned; all others, and the
stages of a compression, train as ever. A frozen layer is left out of the optimiser, and its
batch norm uses and keeps its statistics (He et al., "Mask R-CNN", ICCV 2017, and detectors
since freeze the first stages, for their images are few).

`trainable` is not part of a detector's file: what is loaded is free to learn.
"""

from collections.abc import Iterable, Iterator

import keras

from mkd_tf.checks import fail
from mkd_tf.config import OptimizerConfig, RolesConfig
from mkd_tf.detectors import Detector, takes_backbone_weights
from mkd_tf.detectors.assembly import backbone_of
from mkd_tf.registry import parse_spec
from mkd_tf.training.plan import Stage


def is_pretrained(spec: str, roles: RolesConfig) -> bool:
    """Returns whether the backbone of the network that `spec` names starts from pretrained weights."""
    given = parse_spec(spec).arguments.get("backbone_weights", roles.backbone_weights)
    return bool(given) and takes_backbone_weights(spec)


def pretrained_of(stage: Stage, roles: RolesConfig) -> list[str]:
    """Returns which networks that learn in a stage are fine-tuned: `student` for its own, `guide`."""
    if stage.method:
        return []
    specs = {"student": stage.network, "guide": stage.guide}
    return [name for name, spec in specs.items() if spec and is_pretrained(spec, roles)]


def check_options(options: OptimizerConfig, stages: Iterable[Stage], roles: RolesConfig) -> None:
    """Checks that there is a pretrained backbone for the options of fine-tuning that are set.

    Raises:
      MkdError: naming the first one that would do nothing.
    """
    if any(pretrained_of(stage, roles) for stage in stages):
        return
    for name in ("backbone_learning_rate_scale", "freeze_stages", "freeze_batch_norms"):
        if getattr(options, name):
            fail(
                name,
                expected="a network that starts from pretrained weights",
                got="none",
                do=f"Give --backbone_weights, as in --backbone_weights=imagenet, or leave --{name} out.",
            )


def freeze(network: Detector, options: OptimizerConfig) -> None:
    """Freezes early stages and batch norms of a network's backbone, as `options` say.

    Stage n is what works at a stride from above 2 ** (n - 1) to 2 ** n: the stem is stage 1, and
    C3, C4 and C5 are the ends of stages 3, 4 and 5.
    """
    smallest = network.image_size / 2**options.freeze_stages
    for layer in backbone_of(network.core).layers:
        is_early = options.freeze_stages > 0 and bool(layer.weights) and layer.output.shape[1] >= smallest
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if is_early or (options.freeze_batch_norms and is_norm):
            layer.trainable = False


def backbone_variables(network: Detector) -> list[keras.Variable]:
    """Returns the variables of a network's backbone that learn."""
    return [v for layer in backbone_of(network.core).layers for v in layer.trainable_variables]


def frozen_variables(network: keras.Model) -> Iterator[keras.Variable]:
    """Yields the variables of the layers that are frozen, which no step of training changes."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from frozen_variables(layer)
        elif not layer.trainable:
            yield from layer.variables


def described(networks: Iterable[Detector], options: OptimizerConfig) -> str:
    """Returns what is said about the fine-tuned networks of a stage, in one line."""
    layers = [layer for n in networks for layer in backbone_of(n.core).layers if layer.weights]
    frozen = sum(not layer.trainable for layer in layers)
    rest = f", {frozen} of its {len(layers)} layers frozen" if frozen else ""
    return f"the pretrained backbone learns at {options.backbone_scale:g} of the learning rate{rest}"
