"""What training, evaluating and predicting write."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from mkd_tf.schemas.fields import Amount, Count, File, Fraction, Number, Percent


class CocoMetrics(TypedDict):
    """Average precision by the COCO protocol; `per_class` is AP by class name."""

    AP: Percent
    AP50: Percent
    AP75: Percent
    AP_small: Percent
    AP_medium: Percent
    AP_large: Percent
    per_class: dict[str, Percent]


class VocMetrics(TypedDict):
    """Average precision by the Pascal VOC protocol: area under the curve, and 11 points."""

    VOC_AP: NotRequired[Percent]
    VOC07_AP: NotRequired[Percent]


class Metrics(CocoMetrics, VocMetrics):
    """What is measured of every detector."""


class EvaluationFile(Metrics, File):
    """`evaluate --output`: one model on one split."""

    model: str
    dataset: str
    split: str


class OperatingPoint(TypedDict):
    """The score from which on a network's detections are shown, and the F1 in 0..1 that chose it.

    `per_class` is the threshold with the best F1 of each class, null where it finds none.
    """

    value: Fraction
    f1: Fraction
    chosen: str
    per_class: NotRequired[dict[str, Fraction | None]]


class Found(TypedDict):
    """How many objects the detections of at least a threshold find, and their precision in 0..1."""

    found: Count
    threshold: Fraction | None
    detections: Count
    precision: Fraction | None


class Shares(TypedDict):
    """Objects by who finds them."""

    objects: Count
    both: Count
    student_only: Count
    teacher_only: Count
    neither: Count


class Compared(Found, Shares):
    """What a student finds, and what its teacher does at its own operating point."""


class Beyond(Shares):
    """Objects that a student finds and its teacher misses, each at its own score, at an IoU.

    `equal_count` is with as many detections as the teacher shows, `equal_precision` at the
    teacher's precision. In earlier files `score` is that of both networks.
    """

    score: Fraction
    teacher_score: NotRequired[Fraction]
    iou: Fraction
    per_class: dict[str, Shares]
    equal_count: NotRequired[Compared]
    equal_precision: NotRequired[Compared]


class Role(Metrics):
    """A trained network: what it reaches on a split, what it costs, how long it was trained.

    `best_AP` is that of `best.keras`, where another epoch than the last was selected. `found` is
    what the network finds on the split at its operating point, which validation chose.
    """

    parameters: Count
    macs: Count
    image_size: Count
    epochs: Count
    steps: Count
    seconds: Amount
    split: str
    best_epoch: NotRequired[Count]
    best_AP: NotRequired[Percent]
    operating_point: NotRequired[OperatingPoint]
    found: NotRequired[Found]
    beyond_teacher: NotRequired[Beyond]


class DoneFile(Role, File):
    """`<role>/done.json`: the stage is over; this goes into `results.json`.

    But for `weights`, the SHA-256 of `best.keras`.
    """

    weights: NotRequired[str]


class FileFigures(TypedDict):
    """An exported file in `results.json`; `AP` is with the fit of its training, one other is measured."""

    AP: Percent
    AP_stretch: NotRequired[Percent]
    AP_letterbox: NotRequired[Percent]
    AP_drop: Number | None
    AP_drop_stretch: NotRequired[Number | None]
    AP_drop_letterbox: NotRequired[Number | None]
    bytes: Count
    latency_ms: Amount
    threads: Count
    verdict: Literal["accepted", "rejected"]


class DatasetFacts(TypedDict):
    """The data set of a run: its spec and its classes."""

    name: str
    classes: list[str]


class TeacherLabels(TypedDict):
    """How the teacher's boxes agree with human labels, see `training.label_quality`."""

    images: Count
    boxes_per_image: Amount
    class_right: Fraction | None
    covered: Fraction | None


class GateScore(TypedDict):
    """What a teacher's detections of at least a score find, in 0..1."""

    score: Fraction
    detections: Count
    precision: Fraction | None
    recall: Fraction


class GateClass(TypedDict):
    """A teacher on one class: AP, and its best threshold with the precision and recall there."""

    objects: Count
    AP: Percent
    threshold: Fraction | None
    precision: Fraction | None
    recall: Fraction | None


class TeacherGate(TypedDict):
    """What was measured of the teacher before anything learned from it, see `training.gate`.

    `unknown_images` are those for which it has no answer, `threshold` is that of the best F1;
    `test_AP` is of a teacher without a network, which has no role.
    """

    teacher: str
    split: str
    images: Count
    unknown_images: Count
    objects: Count
    AP: Percent
    AP50: Percent
    f1: Fraction | None
    f1_without_classes: Fraction | None
    threshold: Fraction | None
    scores: list[GateScore]
    per_class: dict[str, GateClass]
    unknown_classes: list[str]
    test_AP: NotRequired[Percent]
    verdict: Literal["good", "weak", "unfit", "unmeasured"]
    reasons: list[str]


class Finding(TypedDict):
    """A sentence of the diagnosis at the end of a run, with the figures behind it by name."""

    kind: str
    text: str
    figures: dict[str, Number]


class ResultsFile(File):
    """`results.json`: what a work directory has measured. Without a training, only `files`."""

    command: NotRequired[str]
    commit: NotRequired[str | None]
    dataset: NotRequired[DatasetFacts]
    image_size: NotRequired[Count]
    teacher_labels: NotRequired[TeacherLabels]
    teacher_gate: NotRequired[TeacherGate]
    diagnosis: NotRequired[list[Finding]]
    roles: dict[str, Role]
    files: dict[str, FileFigures]


class StageFile(File):
    """`<role>/stage.json`: what a compression was begun with."""

    method: str
    start: str
    epochs: Count
    strategies: str
    learning_rate: Amount


class StateFile(File):
    """`<role>/backup/epoch_<n>/state.json`: a stage after an epoch; rows are those of `history.csv`.

    `step` counts the steps of the next epoch that are done, where a run was stopped within one.
    """

    epoch: Count
    rows: list[dict[str, Number | None]]
    best: Number
    best_epoch: Count
    seconds: Amount
    step: NotRequired[Count]


class Detection(TypedDict):
    """An object that was found."""

    label: str
    score: Fraction
    box: Annotated[list[Number], Field(min_length=4, max_length=4)]


class DetectedImage(TypedDict):
    """An image, and what was found in it, best first; EXIF orientation is applied."""

    file: str
    drawn: str
    height: Count
    width: Count
    detections: list[Detection]


class Failure(TypedDict):
    """An image that could not be read."""

    file: str
    reason: str


class DetectionsFile(File):
    """`detections.json` of `predict`."""

    class_names: list[str]
    score_threshold: Fraction
    images: list[DetectedImage]
    failed: list[Failure]
