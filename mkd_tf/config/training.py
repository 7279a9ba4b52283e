"""Options of how a network is trained: optimiser, task, and the run itself."""

import dataclasses

from mkd_tf.checks import check_fraction, check_positive, fail
from mkd_tf.options import Options, at_least, option

BALANCE_MODES = ("fixed", "calibrated", "gradient_share")
# Each role's initial weights have a seed of their own, ten of them to a run; NumPy takes 32 bits.
SEEDS_PER_RUN = 10
LARGEST_SEED = 2**32 // SEEDS_PER_RUN - 1


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Options):
    """AdamW with warm-up and cosine, and the average of weights that is shipped."""

    batch_size: int = option(16, "Images per step.", check=check_positive)
    learning_rate: float = option(4e-3, "Peak learning rate.", check=check_positive)
    weight_decay: float = option(2e-2, "Of the kernels; biases and batch norms have none.", check=at_least(0))
    warmup_steps: int = option(100, "Steps of linear warm-up, at most a tenth of the run.", check=at_least(0))
    clipnorm: float = option(10.0, "Largest global norm of the gradient.", check=check_positive)
    ema_decay: float = option(0.99, "Decay of the averaged weights, reached by a ramp.", check=check_fraction)


@dataclasses.dataclass(frozen=True)
class TaskConfig(Options):
    """The detection loss on labels: quality focal loss and GIoU."""

    beta: float = option(1.0, "Exponent of the quality focal loss.", check=at_least(0))
    box_weight: float = option(2.0, "Weight of the box loss against the class loss.", check=at_least(0))
    balance: str = option(
        "fixed",
        "What a strategy's weight is: fixed, a factor; calibrated, its share of the task's loss, measured "
        "after the warm-up and then frozen; gradient_share, its share of the task's gradient in every step.",
        choices=BALANCE_MODES,
    )
    gradient_cap: float = option(
        0.0,
        "Largest gradient of a strategy at the taps, in units of the task's; 0 for no limit.",
        check=at_least(0),
    )


@dataclasses.dataclass(frozen=True)
class RunConfig(Options):
    """How the run itself behaves."""

    workdir: str = option("runs/default", "Where everything of this run is written.", free=True)
    seed: int = option(
        0, "Of initial weights, the choice and order of images, and augmentation.", check=at_least(0)
    )
    eval_every: int = option(5, "Epochs between validations.", check=check_positive)
    deterministic: bool = option(False, "Bit-identical repetition, a little slower.")
    jit_compile: str = option(
        "auto", "XLA for the training step.", free=True, choices=("auto", "true", "false")
    )
    distribution: str = option(
        "none",
        "mirrored: each step is shared among all GPUs, or --replicas parts of the CPU.",
        free=True,
        choices=("none", "mirrored"),
    )
    replicas: int = option(
        0, "With mirrored, how many parts; 0 for one per GPU.", free=True, check=at_least(0)
    )
    tensorboard: bool = option(True, "Write TensorBoard event files.", free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed > LARGEST_SEED:
            fail("seed", expected=f"at most {LARGEST_SEED}", got=str(self.seed), do="Choose a smaller one.")
