"""What an export works on: the detector, its data set, and the labels to show."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import DataConfig
from mkd_tf.conversion.calibration import Calibration, choose_calibration
from mkd_tf.conversion.model_files import trained_roles
from mkd_tf.conversion.tflite.convert import check_labels
from mkd_tf.data import open_dataset
from mkd_tf.data.base import Dataset
from mkd_tf.deployment.manifest import versions
from mkd_tf.deployment.options import ExportOptions
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.console import make_console
from mkd_tf.files import hash_of
from mkd_tf.options import FITS, Options
from mkd_tf.training.finished import read_done
from mkd_tf.training.workdir import lock


def trained_model(workdir: str | Path, role: str) -> Path:
    """Returns the path of the best weights of a role.

    Raises:
      MkdError: if that role was not trained there, or its file is not the one that training left.
    """
    path = Path(workdir, role, "best.keras")
    if not path.is_file():
        trained = trained_roles(workdir)
        got = f"only {', '.join(trained)}" if trained else "no trained model"
        do = "Let the training end first, or choose another --role."
        fail(f"workdir {workdir}", expected=f"a trained {role} ({role}/best.keras)", got=got, do=do)
    read_done(path.parent)
    return path


def read_labels(path: str) -> list[str] | None:
    """Returns the lines of a text; None for an empty path.

    Raises:
      MkdError: if it cannot be read, or is no UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines() if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise MkdError(
            f"labels {path}: cannot be read ({error}). Give a UTF-8 text, a label a line."
        ) from None


@dataclasses.dataclass(frozen=True, eq=False)
class ExportContext:
    """What an export works on.

    Attributes:
      options: the run-wide options.
      source: the detector's `.keras` file.
      dataset: with splits `train` for calibration and that of AP; `validation` for the
        recommended threshold.
      given_labels: names to show instead of the classes' own.
      fit: how the model was trained to see images, `stretch` or `letterbox`.
      console: where progress and results are shown.
    """

    options: ExportOptions
    source: Path
    dataset: Dataset
    given_labels: Sequence[str] | None = None
    fit: str = FITS[0]
    console: Console = dataclasses.field(default_factory=make_console)

    @classmethod
    @contextlib.contextmanager
    def open(cls, options: ExportOptions, data: DataConfig) -> Iterator["ExportContext"]:
        """Opens a work directory and keeps other processes from writing into it meanwhile.

        Args:
          options: name the work directory and the role.
          data: of the training run there.

        Raises:
          MkdError: if that role was not trained there, the labels or the data set cannot be
            read, or another process works there.
        """
        source, labels = trained_model(options.workdir, options.role), read_labels(options.labels)
        with lock(Path(options.workdir)):
            dataset = open_dataset(data, options.dataset)
            yield cls(options, source, dataset, labels, options.fit or data.fit)

    @functools.cached_property
    def detector(self) -> Detector:
        """The float model, read when it is first used."""
        return load_detector(self.source)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """What the files call the classes."""
        names = self.detector.class_names
        return check_labels(self.given_labels or names, len(names))

    @functools.cached_property
    def calibration(self) -> Calibration:
        """The calibration images, chosen when they are first used: the same for every file."""
        count, seed = self.options.calibration_images, self.options.seed
        return choose_calibration(
            self.dataset, self.detector.image_size, count=count, seed=seed, fit=self.fit
        )

    @functools.cached_property
    def origin(self) -> dict[str, str]:
        """The name within the work directory and the hash of the detector's file."""
        inside = self.source.is_relative_to(self.options.workdir)
        file = self.source.relative_to(self.options.workdir).as_posix() if inside else self.source.name
        return {"file": file, "sha256": hash_of(self.source)}

    def facts(
        self, own: Options, calibration: Calibration | None, packages: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Returns what the manifest says of how a file was made.

        Args:
          own: the file's own options.
          calibration: the images that gave it its ranges, if any did.
          packages: whose versions matter beside the usual ones.
        """
        common = ("calibration_images", "seed", "max_ap_drop", "split")
        flags = {name: getattr(self.options, name) for name in common} | {"fit": self.fit}
        return {
            "flags": flags | dataclasses.asdict(own),
            "source": self.origin,
            "versions": versions(*packages),
            "calibration": [] if calibration is None else list(calibration.image_ids),
        }
