"""The options that hold for every file of an export."""

import dataclasses

from mkd_tf.checks import check_positive
from mkd_tf.conversion.base import CALIBRATION_IMAGES
from mkd_tf.options import FITS, Options, at_least, option

INTERRUPTED = "interrupted; earlier files are untouched"


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """What is exported, and how the files are measured."""

    workdir: str = option("runs/default", "Work directory of the training run.")
    role: str = option("student", "Which role's network, as student, student_qat or teacher.")
    calibration_images: int = option(
        CALIBRATION_IMAGES, "Training images that give an integer file its ranges.", check=check_positive
    )
    seed: int = option(0, "Of the choice of images.", check=at_least(0))
    max_ap_drop: float = option(
        2.0, "A file that loses more points of AP under either fit is rejected.", check=at_least(0)
    )
    split: str = option("test", "On which AP of the exported files is measured.")
    fit: str = option("", "How images are brought to the input; empty for the run's fit.", choices=FITS)
    dataset: str = option("", "Another data set than the run's, with the same classes.")
    labels: str = option("", "A text with the labels to show, a line per class; empty for the classes.")
