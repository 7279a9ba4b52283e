"""The configuration of a training run: one flag is made of every field."""

import dataclasses
from typing import Any

from mkd_tf.checks import check_fraction, check_positive, fail
from mkd_tf.options import FITS, Options, at_least, option

FLIPS = ("none", "horizontal", "both", "half_turn")
TEACHER_VIEWS = ("none", "flip", "half_turn")
BALANCE_MODES = ("fixed", "calibrated", "gradient_share")
MIXED_IMAGES = ("unlabelled", "labelled", "all")
# Each role's initial weights have a seed of their own, ten of them to a run; NumPy takes 32 bits.
SEEDS_PER_RUN = 10
LARGEST_SEED = 2**32 // SEEDS_PER_RUN - 1


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Which images, and which of them carry labels for the student."""

    dataset: str = option("shapes", "Data set: a name or a call, as in voc_folder(path='images').")
    labelled: int = option(
        0, "Labelled images that guide and student may use; 0 for all. Seeded choice.", check=at_least(0)
    )
    unlabelled_share: float = option(
        0.75, "Share of a batch that comes from unlabelled images, if there are any.", check=check_fraction
    )
    teacher_boxes: float = option(
        0.1,
        "Lowest score of a teacher's box used as a label where there is none; 1 for none.",
        check=check_fraction,
    )
    teacher_boxes_iou: float = option(
        0.6,
        "Of a teacher's boxes of any class that overlap more than this, the best is the label; 1 for all.",
        check=check_fraction,
    )
    on_bad_example: str = option(
        "fail", "What to do with a bad image or annotation.", choices=("fail", "skip")
    )
    fit: str = option("stretch", "How an image is brought to the input.", choices=FITS)
    data_dir: str = option("", "Where prepared data sets are kept; empty for the default of tfds.", free=True)
    cache_gb: float = option(1.0, "Decoded images are kept in memory up to this size.", free=True)


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(Options):
    """Random changes of a training image; its boxes follow exactly."""

    flips: str = option("horizontal", "How images are mirrored; both: each independently.", choices=FLIPS)
    scale_min: float = option(0.55, "Smallest zoom.", check=check_positive)
    scale_max: float = option(1.3, "Largest zoom.")
    aspect: float = option(0.2, "Largest change of the aspect ratio, as a logarithm.")
    brightness: float = option(0.15, "Largest relative change of brightness.")
    contrast: float = option(0.25, "Largest relative change of contrast.")
    saturation: float = option(0.3, "Largest relative change of saturation.")
    mosaic: float = option(
        0.0, "Share of a batch's images that are made of four of them.", check=check_fraction
    )
    mixup: float = option(
        0.0, "Share of a batch's images that are two of them, blended.", check=check_fraction
    )
    mixed_images: str = option(
        "unlabelled", "What mosaic and mixup apply to, for every role.", choices=MIXED_IMAGES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mosaic + self.mixup > 1 + 1e-9:
            fail(
                "mixup",
                expected=f"at most 1 - mosaic = {1 - self.mosaic:g}",
                got=str(self.mixup),
                do="Lower mosaic or mixup: an image is one or the other.",
            )
        if self.scale_max < self.scale_min:
            expected, do = f"at least scale_min = {self.scale_min}", "Raise scale_max or lower scale_min."
            fail("scale_max", expected=expected, got=str(self.scale_max), do=do)


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
class RolesConfig(Options):
    """The networks, how long each trains, and what is distilled."""

    teacher: str = option("tiny(size='teacher')", "The teacher's network.")
    guide: str = option("tiny(size='guide')", "The guide's network, or none.")
    guide_mode: str = option(
        "frozen",
        "The guide is trained before the student (frozen), or in the same steps (learning).",
        choices=("frozen", "learning"),
    )
    student: str = option("tiny(size='student')", "The student's network.")
    image_size: int = option(192, "Side of the student's input in pixels.")
    teacher_image_size: int = option(0, "Side of the teacher's input; 0 for the student's.")
    guide_image_size: int = option(0, "Side of the guide's input; 0 for the student's.")
    teacher_epochs: int = option(75, "Passes over the labelled images.", check=at_least(1))
    guide_epochs: int = option(60, "Passes over labelled and unlabelled images.", check=at_least(1))
    student_epochs: int = option(60, "Passes over labelled and unlabelled images.", check=at_least(1))
    teacher_weights: str = option(
        "", "A teacher's .keras file to use instead of training one; several, comma-separated, are averaged."
    )
    teacher_views: str = option(
        "none",
        "The teacher answers over the image and its mirror image (flip) or half turn (half_turn), "
        "at twice its cost; none for the image alone.",
        choices=TEACHER_VIEWS,
    )
    guide_weights: str = option("", "A guide's .keras file to use instead of training one.")
    teacher_labels: str = option(
        "all",
        "Whose labels the teacher is trained on: all of them, or the same as the student's.",
        choices=("all", "same"),
    )
    teacher_learning_rate: float = option(
        0.0, "The teacher's peak learning rate; 0 for --learning_rate.", check=at_least(0)
    )
    guide_learning_rate: float = option(
        0.0, "The guide's peak learning rate; 0 for --learning_rate.", check=at_least(0)
    )
    student_weights: str = option("", "A .keras file whose weights the student starts from.")
    backbone_weights: str = option(
        "",
        "imagenet or a file: what the backbones of resnet and mobilenet_v2 start from, in every role "
        "whose own call does not say it, as in resnet(depth=50, backbone_weights='imagenet').",
    )
    guide_strategies: str = option(
        "soft_classes, soft_boxes(weight=2.0)",
        "What the guide learns from the teacher: calls, comma-separated.",
    )
    strategies: str = option(
        "soft_classes, soft_boxes(weight=2.0)",
        "What the student learns: calls, comma-separated, or mkd for the whole method.",
    )
    guide_init: str = option(
        "auto",
        "What the guide starts from; auto: the teacher, if most weights match.",
        choices=("auto", "random", "teacher"),
    )
    student_init: str = option(
        "auto",
        "What the student starts from; auto: the guide, else the teacher, if most weights match.",
        choices=("auto", "random", "teacher", "guide"),
    )
    start: str = option(
        "uniform",
        "How weights of a larger network are taken: uniform, importance, least_squares, imitation (also for "
        "another family), fresh, or several joined by +.",
    )
    baseline: bool = option(False, "Also train the same student alone, from random weights.", free=True)

    def size_of(self, role: str) -> int:
        """The input side of a role in pixels."""
        return getattr(self, f"{role}_image_size", 0) or self.image_size

    def learning_rate_of(self, role: str, common: float) -> float:
        """A role's peak learning rate; `common` where it has none of its own."""
        return getattr(self, f"{role}_learning_rate", 0.0) or common

    def weights_of(self, role: str) -> str:
        """The `.keras` file that is used instead of training a role, or nothing."""
        return {"teacher": self.teacher_weights, "guide": self.guide_weights}.get(role, "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student_init == "guide" and not self.has_guide:
            fail("student_init", expected="auto, random or teacher", got="guide", do="Give a --guide.")

    @property
    def has_guide(self) -> bool:
        return self.guide not in ("", "none")


@dataclasses.dataclass(frozen=True)
class CompressionConfig(Options):
    """Further stages, in which the distilled student goes on learning in a compressed form.

    All free: a finished run can be compressed later. What a stage was begun with is
    written down in its own folder.
    """

    compress: str = option(
        "",
        "Further stages, comma-separated: qat, prune(sparsity=0.5), cluster(clusters=32), one after another "
        "as in prune(sparsity=0.5)+qat, and float, the student as it is with the same further steps.",
        free=True,
    )
    compress_epochs: int = option(
        20, "Length of each, in passes as the student's.", free=True, check=at_least(1)
    )
    compress_learning_rate: float = option(
        1e-3, "Peak learning rate of each.", free=True, check=check_positive
    )
    compress_strategies: str = option(
        "", "What the student learns meanwhile, as in --strategies; empty for the same.", free=True
    )
    compress_baseline: bool = option(False, "Also each of them without a teacher.", free=True)


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


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a training run depends on."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    roles: RolesConfig = dataclasses.field(default_factory=RolesConfig)
    compression: CompressionConfig = dataclasses.field(default_factory=CompressionConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)


_GROUPS: dict[str, Any] = {field.name: field.default_factory for field in dataclasses.fields(Config)}


def options() -> dict[str, dataclasses.Field]:
    """Returns every option of a training run by its flag name; names are unique across the groups."""
    return {field.name: field for group in _GROUPS.values() for field in dataclasses.fields(group)}


def from_values(values: dict[str, Any]) -> Config:
    """Builds a `Config` from option values by name; those not named keep their default.

    Raises:
      MkdError: if a value is out of its range.
    """
    groups = {}
    for name, group in _GROUPS.items():
        names = [f.name for f in dataclasses.fields(group) if f.name in values]
        groups[name] = group(**{n: values[n] for n in names})
    return Config(**groups)


def to_values(config: Config) -> dict[str, Any]:
    """The inverse of `from_values`: every option's value by name."""
    return {name: value for group in dataclasses.asdict(config).values() for name, value in group.items()}
