"""Options of the networks: their form, their start, what they learn, and their compression."""

import dataclasses

from mkd_tf.checks import check_positive, fail
from mkd_tf.options import Options, at_least, option

TEACHER_VIEWS = ("none", "flip", "half_turn")
TEACHER_PRECISIONS = ("float32", "int8")
TEACHER_GATES = ("warn", "fail", "off")


@dataclasses.dataclass(frozen=True)
class RolesConfig(Options):
    """The networks, how long each trains, and what is distilled."""

    teacher: str = option(
        "tiny(size='teacher')", "A network to train, or a source of detections, as onnx(path='x.onnx')."
    )
    guide: str = option("tiny(size='guide')", "The guide's network, or none.")
    guide_mode: str = option(
        "frozen",
        "The guide is trained before the student or with it.",
        choices=("frozen", "learning"),
    )
    student: str = option("tiny(size='student')", "The student's network.")
    image_size: int = option(192, "Side of the student's input in pixels.", check=check_positive)
    teacher_image_size: int = option(
        0, "Side of the teacher's input; 0 for the student's.", check=at_least(0)
    )
    guide_image_size: int = option(0, "Side of the guide's input; 0 for the student's.", check=at_least(0))
    teacher_epochs: int = option(75, "Passes over the labelled images.", check=at_least(1))
    guide_epochs: int = option(60, "Passes over labelled and unlabelled images.", check=at_least(1))
    student_epochs: int = option(60, "Passes over labelled and unlabelled images.", check=at_least(1))
    teacher_weights: str = option(
        "", "A teacher's .keras file instead of training one; of several (a,b) the average."
    )
    teacher_views: str = option(
        "none",
        "A second view of each image, at twice the cost.",
        choices=TEACHER_VIEWS,
    )
    teacher_precision: str = option(
        "float32",
        "As a source; int8 is cheaper on CPUs.",
        choices=TEACHER_PRECISIONS,
    )
    teacher_cache: int = option(
        0, "Augmentations of an image whose answers by the sources are kept.", check=at_least(0)
    )
    class_map: str = option("", "Classes of a foreign teacher by name, as in car=vehicle, truck=vehicle.")
    teacher_gate: str = option(
        "warn", "On a teacher that labels show to be unfit.", free=True, choices=TEACHER_GATES
    )
    teacher_thresholds: str = option(
        "common",
        "Lowest scores of its labels: of all, or measured.",
        choices=("common", "per_class"),
    )
    guide_weights: str = option("", "A guide's .keras file to use instead of training one.")
    teacher_labels: str = option(
        "all",
        "Trained on all labels, or the student's.",
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
        "imagenet or a file: what backbones (not tiny's) start from, unless the network's own call says it, "
        "as efficientnet_lite(backbone_weights='').",
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
        "Start; auto: teacher, if most weights match.",
        choices=("auto", "random", "teacher"),
    )
    student_init: str = option(
        "auto",
        "Start; auto: guide, else teacher.",
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
        files = [part.strip() for part in self.teacher.split(",")]
        if not self.teacher_weights and all(file.endswith(".keras") for file in files):
            # A trained network by its file alone.
            object.__setattr__(self, "teacher_weights", self.teacher)
            object.__setattr__(self, "teacher", type(self).teacher)
        if self.teacher_thresholds == "per_class" and self.teacher_gate == "off":
            do = "Set --teacher_gate=warn: it measures the thresholds."
            fail("teacher_thresholds", expected="common with teacher_gate=off", got="per_class", do=do)
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
