"""The contract of an export format.

A format is a frozen dataclass. Its fields are the options of one file, declared with
`option`; its methods convert a detector, run the file and read its heads back:

    form = TFLite(quantization="float32")
    content = form.convert(detector, None, labels, "stretch", on_progress)
    runner = form.runner(content)          # images -> detections
    form.heads(content, images)            # to be compared with form.expected_heads(...)

`export.py` makes flags of the fields, and `deployment.export_run` does the rest: AP,
latency, parity, verdict and record are the same for every format. A module of a format
imports heavy packages inside its methods, since every program's --help reads `FORMATS`.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mkd_tf.checks import check_fraction, fail
from mkd_tf.options import Options

if TYPE_CHECKING:
    import numpy as np

    from mkd_tf.conversion.calibration import Calibration
    from mkd_tf.conversion.facts import FileFacts
    from mkd_tf.detection.postprocess import Detections
    from mkd_tf.detectors.base import Detector
    from mkd_tf.evaluation.progress import OnProgress

CALIBRATION_IMAGES = 128
"""How many training images give an integer file its ranges."""
AUTO = "auto"
Heads = dict[str, "np.ndarray"]


class FileRunner(Protocol):
    """Runs a file: an `evaluation.runners.Runner` whose single call can be timed.

    Attributes:
      image_size: side of the square input in pixels.
      class_names: in the order of the labels it gives.
      fit: how the model was trained to see images, `stretch` or `letterbox`; empty
        where the file does not say it.
    """

    image_size: int
    class_names: tuple[str, ...]
    fit: str

    def invoke(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs, by name, for one image `[S, S, 3]` in 0..255."""
        ...

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255."""
        ...


def check_threshold(name: str, value: str | float) -> None:
    """Raises `MkdError` unless `value` is `AUTO` or a score, as a number or as text."""
    try:
        number = None if value == AUTO else float(value)
    except ValueError:
        do = f"Give --{name}={AUTO}, or a score as --{name}=0.3."
        fail(name, expected=f"{AUTO} or a number in 0..1", got=repr(value), do=do)
    if number is not None:
        check_fraction(name, number)


def chosen_suppression(
    score_threshold: str | float, max_detections: int, is_inside: bool
) -> tuple[float | None, int | None] | None:
    """Returns `Format.suppression` of a format with these options."""
    threshold = None if score_threshold == AUTO else float(score_threshold)
    return (threshold, max_detections or None) if is_inside else None


def import_extra(module: str, feature: str, extra: str) -> ModuleType:
    """Returns a module of a package that not every installation of mkd_tf has.

    Args:
      module: its full name.
      feature: what it is needed for, as errors name it.
      extra: of mkd_tf, which installs it.

    Raises:
      MkdError: if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0].replace("_", "-")
        do = f"Install it with: pip install mkd_tf[{extra}]"
        fail(feature, expected=f"the package {package}", got="none", do=do)


def read_model(source: str | Path | bytes, expected: str) -> tuple[str, bytes]:
    """Returns what errors call a model's file, and its content.

    Args:
      source: path or content.
      expected: what the file is, as in `a .tflite file`.

    Raises:
      MkdError: if there is no file at the path.
    """
    if isinstance(source, bytes):
        return "model", source
    path = Path(source)
    if not path.is_file():
        fail(f"model {path}", expected=expected, got="no such file", do="Check the path.")
    return f"model {path}", path.read_bytes()


def needs_calibration(detector: Detector, quantization: str) -> bool:
    """Returns whether a file takes its ranges from images; a student that emulates int8 brings them."""
    return quantization == "int16x8" or (quantization == "int8" and not detector.is_quantized)


@dataclasses.dataclass(frozen=True)
class Format(Options, abc.ABC):
    """How a file of one kind is made, run and read back; its fields are the file's options.

    Attributes:
      ending: of the names of all its files, as in `.tflite`.
      packages: whose versions the manifest records beside the usual ones.
      quantization: an option of formats that have one; it decides on calibration.
    """

    ending: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    quantization = ""  # Without a type it is no option here.

    @abc.abstractmethod
    def suffix(self) -> str:
        """Returns what stands behind the role in the file's name, as in `int8_raw.tflite`."""

    @abc.abstractmethod
    def convert(
        self,
        detector: Detector,
        calibration: Calibration | None,
        labels: Sequence[str],
        fit: str,
        on_progress: OnProgress,
    ) -> bytes:
        """Returns the content of a file.

        Args:
          detector: it is not changed.
          calibration: images that give integers their ranges; None unless `needs_calibration`.
          labels: of the classes, written into the file.
          fit: how the model was trained to see images, `stretch` or `letterbox`.
          on_progress: called while images are calibrated on.
        """

    @staticmethod
    @abc.abstractmethod
    def runner(source: str | Path | bytes, threads: int = 1) -> FileRunner:
        """Returns a runner of a file, given as its path or its content.

        Raises:
          MkdError: if there is no such file, or it is damaged or of another form.
        """

    @abc.abstractmethod
    def heads(self, content: bytes, images: np.ndarray) -> Heads:
        """Returns the file's heads for `images` `[B, S, S, 3]` uint8, named as in `expected_heads`."""

    def expected_heads(self, detector: Detector, heads: Heads) -> Heads:
        """Returns what `heads` should be, of the float model's `parity.keras_heads`."""
        del detector
        return heads

    def require(self) -> None:
        """Raises `MkdError` if a package is missing; called before anything is read."""

    def needs_calibration(self, detector: Detector) -> bool:
        """Returns whether `convert` needs calibration images."""
        return needs_calibration(detector, self.quantization)

    def suppression(self) -> tuple[float | None, int | None] | None:
        """Returns score threshold and largest number of detections of the file that ships.

        A threshold or number of None is chosen by what it costs; the result is None for a format without
        suppression in its files.
        """
        return None

    def finish(self, content: bytes, facts: FileFacts) -> bytes:
        """Returns the file that ships, made of the one that was measured."""
        del facts
        return content

    def report(self, content: bytes) -> dict[str, Any]:
        """Returns what the manifest says of this file beside what is measured of every file."""
        del content
        return {}

    def companions(self, name: str, detector: Detector, content: bytes) -> Mapping[str, str]:
        """Returns texts to be written beside the file of this name and content, by their file names."""
        del name, detector, content
        return {}
