"""What inspecting a data set and choosing a schedule write."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from mkd_tf.schemas.fields import Amount, Count, File, Fraction, Number


class ClassFacts(TypedDict):
    """A class in a split: images that have it, its objects, and their size in pixels of the input.

    `learnable` are objects that get a location of their own in the assignment of targets,
    `below_stride` those whose box is smaller than the square of the finest stride.
    """

    images: Count
    objects: Count
    learnable: Count
    below_stride: Count
    median_px: Amount | None


class SplitFacts(TypedDict):
    """A split: `negatives` are labelled images without an object, `crowds` areas of unknown content.

    `unknown_images` may hold objects that no label names; in others that is so in `unknown_areas`.
    `size_px` are the quantiles 0.05, 0.25, 0.5, 0.75 and 0.95 of the root of a box's area.
    `learnable` was counted on `assigned_images`. `height_px` and `width_px` are medians of the images.
    """

    images: Count
    labelled: Count
    unlabelled: Count
    negatives: Count
    unknown_images: Count
    unknown_areas: Count
    crowds: Count
    difficult: Count
    objects: Count
    learnable: Count
    below_stride: Count
    assigned_images: Count
    height_px: Amount
    width_px: Amount
    size_px: list[Amount]
    per_class: dict[str, ClassFacts]


class Place(TypedDict):
    """Where something was found; `object` counts from 0 in its image, `twin` is (split, image) of another."""

    split: str
    image: str
    object: NotRequired[Count]
    note: NotRequired[str]
    twin: NotRequired[list[str]]


class Suspect(TypedDict):
    """Something that looks wrong: `count` times, of which the first `places` are named."""

    kind: str
    count: Count
    message: str
    places: list[Place]


class Noticed(TypedDict):
    """What reading the data set did not use, or read otherwise than it is written, and why.

    `kind` is one of `data.sources.notices.KINDS`, or "problem" for what was left out as an error.
    """

    kind: str
    where: str
    count: Count
    message: str
    examples: list[str]


class InspectionFile(File):
    """`data.json`: what a data set holds at an input size, and what looks wrong in it."""

    dataset: str
    name: str
    classes: list[str]
    image_size: Count
    fit: str
    strides: list[Count]
    splits: dict[str, SplitFacts]
    notices: list[Noticed]
    suspects: list[Suspect]


class Doubt(TypedDict):
    """A label that trained networks doubt, or an object that they find and no label names.

    `box` and `label` are what the annotation says, absent for a missing one; `suggested_box` and
    `suggested_label` what the networks say, absent where they see nothing. Boxes are
    `[ymin, xmin, ymax, xmax]` in pixels of the original image; `suspicion` orders the doubts.
    """

    kind: Literal["missing", "wrong class", "loose box", "nothing there"]
    split: str
    image: str
    suspicion: Fraction
    networks: list[str]
    object: NotRequired[Count]
    label: NotRequired[str]
    box: NotRequired[Annotated[list[Number], Field(min_length=4, max_length=4)]]
    suggested_label: NotRequired[str]
    suggested_box: NotRequired[Annotated[list[Number], Field(min_length=4, max_length=4)]]
    score: NotRequired[Fraction]
    iou: NotRequired[Fraction]


class ReviewFile(File):
    """`review.json`: the labels of a data set that the networks of a run doubt, the most first."""

    dataset: str
    networks: dict[str, str]
    images: Count
    labels: Count
    counts: dict[str, Count]
    doubts: list[Doubt]


class StageTime(TypedDict):
    """How long a stage is expected to take, in seconds, and what of it was measured."""

    epochs: Count
    steps: Count
    step_s: Amount
    start_s: Amount
    validation_s: Amount
    total_s: Amount


class SpeedFacts(TypedDict):
    """What was measured of the machine, see `training.advice_times.Speed`."""

    mac_s: Amount
    batch_s: Amount
    start_s: Amount
    trace_s: Amount
    read_s: Amount
    batch_size: Count


class LoadFacts(TypedDict):
    """What the stages work on, see `training.advice_times.Load`."""

    macs: dict[str, Amount]
    pools: dict[str, Count]
    validation: Count
    test: Count
    batch_size: Count
    eval_every: Count


class AdviceFile(File):
    """`advice.json`: what `--minutes` chose, from which measurements, and what was spent since.

    `chosen` are values of flags by name; `given` those of the call that it was chosen for. `stages`
    is the estimate before the first epoch, `epochs` are those of stages that have begun, and
    `spent_s` is the time of those that are over, and until the first one began (`start`).
    """

    minutes: Amount
    given: dict[str, str]
    chosen: dict[str, int | Number]
    reasons: list[str]
    stages: dict[str, StageTime]
    choosing_s: Amount
    speed: SpeedFacts
    load: LoadFacts
    epochs: dict[str, Count]
    spent_s: dict[str, Amount]
