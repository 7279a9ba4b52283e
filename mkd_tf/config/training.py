"""Options of how a network is trained: optimiser, task, and the run itself."""

import dataclasses

from mkd_tf.checks import check_fraction, check_positive, fail
from mkd_tf.options import Options, at_least, option

DISTRIBUTIONS = ("none", "mirrored", "multi_worker")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
BALANCE_MODES = ("fixed", "calibrated", "gradient_share")
# Each role's initial weights have a seed of their own, ten of them to a run; NumPy takes 32 bits.
SEEDS_PER_RUN = 10
BACKBONE_SCALE = 0.1
"""A pretrained backbone's learning rate in units of the others', where the option leaves it open."""
LARGEST_SEED = 2**32 // SEEDS_PER_RUN - 1


def _check_stages(name: str, value: int) -> None:
    if not 0 <= value <= 5:
        do = "Give 0 for none, up to 5 for the whole backbone."
        fail(name, expected="0 to 5", got=str(value), do=do)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Options):
    """AdamW with warm-up and cosine, and the average of weights that is shipped."""

    batch_size: int = option(16, "Images per step.", check=check_positive)
    learning_rate: float = option(4e-3, "Peak learning rate.", check=check_positive)
    weight_decay: float = option(2e-2, "Of the kernels; biases and batch norms have none.", check=at_least(0))
    warmup_steps: int = option(100, "Steps of linear warm-up, at most a tenth of the run.", check=at_least(0))
    clipnorm: float = option(10.0, "Largest global norm of the gradient.", check=check_positive)
    ema_decay: float = option(0.99, "Decay of the averaged weights, reached by a ramp.", check=check_fraction)
    backbone_learning_rate_scale: float = option(
        0.0, "Factor of a pretrained backbone's learning rate; 0 for 0.1.", check=at_least(0)
    )
    freeze_stages: int = option(
        0, "How many stages of a pretrained backbone are frozen; 2: to stride 4.", check=_check_stages
    )
    freeze_batch_norms: bool = option(False, "Batch norms of a pretrained backbone are frozen.")

    @property
    def backbone_scale(self) -> float:
        """The factor of a pretrained backbone's learning rate."""
        return self.backbone_learning_rate_scale or BACKBONE_SCALE


@dataclasses.dataclass(frozen=True)
class TaskConfig(Options):
    """The detection loss on labels: quality focal loss and GIoU."""

    beta: float = option(1.0, "Exponent of the quality focal loss.", check=at_least(0))
    box_weight: float = option(2.0, "Weight of the box loss against the class loss.", check=at_least(0))
    balance: str = option(
        "auto",
        "What a strategy's weight is: a factor (fixed), its share of the task's loss (calibrated) or of "
        "its gradient (gradient_share); auto: gradient_share for mkd, else fixed.",
        choices=("auto", *BALANCE_MODES),
    )
    gradient_cap: float = option(
        0.0,
        "Largest gradient of a strategy at the taps, in the task's; 0 for no limit.",
        check=at_least(0),
    )


@dataclasses.dataclass(frozen=True)
class RunConfig(Options):
    """How the run itself behaves."""

    workdir: str = option("runs/default", "Where everything of this run is written.", free=True)
    minutes: float = option(
        0.0, "Time of the whole run: chooses epochs, input and batch; 0: as given.", check=at_least(0)
    )
    seed: int = option(
        0, "Of initial weights, the choice and order of images, and augmentation.", check=at_least(0)
    )
    eval_every: int = option(5, "Epochs between validations.", check=check_positive)
    deterministic: bool = option(False, "Bit-identical repetition, a little slower.")
    jit_compile: str = option(
        "auto", "XLA for the training step.", free=True, choices=("auto", "true", "false")
    )
    precision: str = option("float32", "What networks compute in; files are float32.", choices=PRECISIONS)
    distribution: str = option(
        "none",
        "mirrored: all GPUs, or --replicas parts of the CPU, share a step; multi_worker: machines do.",
        free=True,
        choices=DISTRIBUTIONS,
    )
    replicas: int = option(
        0, "With mirrored, how many parts; 0 for one per GPU.", free=True, check=at_least(0)
    )
    tensorboard: bool = option(True, "Write TensorBoard event files.", free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed > LARGEST_SEED:
            fail("seed", expected=f"at most {LARGEST_SEED}", got=str(self.seed), do="Choose a smaller one.")
