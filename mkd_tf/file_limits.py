"""What reading one file may take at most: a small file can ask for all memory.

    mkd train --limits="megapixels=200, model_gib=8"

The limits are the process's, as those of Pillow are; processes that it starts have the same.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from mkd_tf.checks import check_positive, fail

VARIABLE = "MKD_LIMITS"
"""The environment variable through which processes that a program starts have its limits."""


@dataclasses.dataclass(frozen=True)
class FileLimits:
    """Limits of one file.

    >>> FileLimits.parsed("megapixels=200, model_gib=8").model_gib
    8.0

    Attributes:
      megapixels: pixels of an image, in millions; Pillow's own limit.
      model_gib: all parts of a `.keras` file when unpacked, in GiB.
      layers_mib: its description of its layers, in MiB.
      text_gib: a file of annotations, predictions or settings, in GiB.
    """

    megapixels: float = 89.478485
    model_gib: float = 4.0
    layers_mib: float = 64.0
    text_gib: float = 2.0

    @property
    def pixels(self) -> int:
        """The largest number of pixels of an image."""
        return round(self.megapixels * 1e6)

    @classmethod
    def parsed(cls, text: str) -> "FileLimits":
        """Returns the limits that `text` describes as `name=number, ...`; the others are the defaults.

        Raises:
          MkdError: for an unknown name, or what is no positive number.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        found: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in names or name in found:
                expected = f"each of {', '.join(names)} at most once, as in {names[0]}=200"
                fail("limits", expected=expected, got=repr(part), do="Correct --limits.")
            try:
                found[name] = float(value)
            except ValueError:
                fail("limits", expected=f"a number for {name}", got=repr(value), do="Correct --limits.")
            check_positive(f"limits: {name}", found[name])
        return cls(**found)


_current: list[FileLimits] = []


def limits() -> FileLimits:
    """Returns the limits of this process.

    Raises:
      MkdError: if the environment describes none that can be read.
    """
    if not _current:
        _current.append(FileLimits.parsed(os.environ.get(VARIABLE, "")))
    return _current[0]


def set_limits(text: str) -> None:
    """Sets the limits of this process and of those that it starts.

    Args:
      text: as `FileLimits.parsed` takes it; empty leaves them as they are.

    Raises:
      MkdError: as `FileLimits.parsed` does.
    """
    if text.strip():
        _current[:] = [FileLimits.parsed(text)]
        os.environ[VARIABLE] = text


def check_text(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a text file.

    Raises:
      MkdError: if it is larger than `text_gib`.
      OSError: if it is missing.
    """
    path = Path(path)
    most, size = limits().text_gib, path.stat().st_size
    if size > most * 2**30:
        too_large(f"file {path}", f"at most {most:g} GiB", f"{size / 2**30:.2g} GiB", "text_gib")
    return path


def too_large(where: str, expected: str, got: str, name: str) -> Any:
    """Raises `MkdError` for a file beyond the limit `name`."""
    do = f"Use a smaller file or, if you trust it, raise the limit with --limits={name}=NUMBER."
    fail(where, expected=expected, got=got, do=do)
