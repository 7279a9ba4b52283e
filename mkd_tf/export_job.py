"""What the programs that export have in common: their flags, what they open, the table they print."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkd_tf import flags
from mkd_tf.conversion.calibration import IMAGES
from mkd_tf.data import open_dataset
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.measuring import files_table
from mkd_tf.deployment.source import read_labels, trained_model
from mkd_tf.evaluation.results import make_console
from mkd_tf.training.workdir import lock


def define() -> None:
    """Defines the flags of every export."""
    flags.define("workdir", "runs/default", "Work directory of the training run.")
    flags.define("role", "student", "Which role's network, as student, student_qat or teacher.")
    flags.define("calibration_images", IMAGES, "Training images that give an integer file its ranges.")
    flags.define("seed", 0, "Of the choice of images.")
    flags.define("max_ap_drop", 2.0, "A file that loses more AP than this is rejected.")
    flags.define("split", "test", "On which AP of the exported files is measured.")
    flags.define("dataset", "", "Another data set than the run's, with the same classes.")
    flags.define("labels", "", "A text with the labels to show, a line per class; empty for the classes.")


class Job:
    """What the flags say of an export.

    Attributes:
      workdir: work directory of the run.
      role: whose network is exported.
      source: its file.
      labels: names to show instead of the classes' own, or None.
      options: values of the fields of `deployment.measuring.FileOptions`.
      console: where results are printed.

    Raises:
      MkdError: if that role was not trained there, or the labels cannot be read.
    """

    def __init__(self):
        self.workdir, self.role = flags.value("workdir"), flags.value("role")
        self._data = flags.stored_config(self.workdir).data
        self.source, self.labels = trained_model(self.workdir, self.role), read_labels(flags.value("labels"))
        names = ("calibration_images", "seed", "max_ap_drop", "split")
        self.options = {name: flags.value(name) for name in names} | {"fit": self._data.fit}
        self.console = make_console()

    @contextlib.contextmanager
    def dataset(self) -> Iterator[Dataset]:
        """Opens the data set; nobody else writes into the work directory meanwhile."""
        with lock(Path(self.workdir)):
            yield open_dataset(self._data, flags.value("dataset"))

    def show(self, title: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Prints what was measured of the files."""
        self.console.print(files_table(title, entries, self._data.fit))
