"""Options of the images: which, with whose labels, and how they are changed in training."""

import dataclasses

from mkd_tf.checks import check_fraction, check_positive, fail
from mkd_tf.options import FITS, Options, at_least, option

FLIPS = ("none", "horizontal", "both", "half_turn")
CUT_OBJECTS = ("background", "unknown")
MIXED_IMAGES = ("unlabelled", "labelled", "all")


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Which images, and which of them carry labels for the student."""

    dataset: str = option("", "Data set: a folder, a name, or a call as voc_folder(path='images').")
    labelled: int = option(
        0, "Labelled images that guide and student may use; 0 for all. Seeded choice.", check=at_least(0)
    )
    unlabelled_share: float = option(
        0.75, "Share of a batch that comes from unlabelled images, if there are any.", check=check_fraction
    )
    teacher_boxes: float = option(
        0.1,
        "Lowest score of a teacher's box that becomes a label; 1 for none.",
        check=check_fraction,
    )
    teacher_boxes_iou: float = option(
        0.6,
        "Of a teacher's boxes that overlap more, the best is the label; 1: all.",
        check=check_fraction,
    )
    on_bad_example: str = option(
        "fail", "What to do with a bad image or annotation.", choices=("fail", "skip")
    )
    fit: str = option("stretch", "How an image is brought to the input.", choices=FITS)
    data_dir: str = option("", "Where prepared data sets are kept; empty for the default of tfds.", free=True)
    cache_gb: float = option(
        1.0, "Decoded images are kept in memory up to this size.", free=True, check=at_least(0)
    )

    def named(self, name: str = "") -> str:
        """Returns `name`, or the configured data set if that is empty.

        Raises:
          MkdError: if both are empty.
        """
        if not (name or self.dataset):
            fail(
                "flag --dataset",
                expected="a data set",
                got="nothing",
                do="Give the folder of your images and labels, as in --dataset=images, or a call, as in "
                "--dataset=\"voc_folder(path='images')\"; --dataset=shapes draws images to try it with.",
            )
        return name or self.dataset


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(Options):
    """Random changes of a training image; its boxes follow exactly."""

    flips: str = option("horizontal", "Mirroring; both: each independently.", choices=FLIPS)
    scale_min: float = option(0.55, "Smallest zoom.", check=check_positive)
    scale_max: float = option(1.3, "Largest zoom.", check=check_positive)
    aspect: float = option(0.2, "Largest change of the aspect ratio, as a logarithm.", check=at_least(0))
    brightness: float = option(0.15, "Largest relative change of brightness.", check=check_fraction)
    contrast: float = option(0.25, "Largest relative change of contrast.", check=check_fraction)
    saturation: float = option(0.3, "Largest relative change of saturation.", check=check_fraction)
    mosaic: float = option(
        0.0, "Share of a batch's images that are made of four of them.", check=check_fraction
    )
    mixup: float = option(
        0.0, "Share of a batch's images that are two of them, blended.", check=check_fraction
    )
    mixed_images: str = option("unlabelled", "What mosaic and mixup apply to.", choices=MIXED_IMAGES)
    cut_objects: str = option("background", "What is left of an object that is cut off.", choices=CUT_OBJECTS)

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
