"""The JSON files that programs write: what is in each, and the one way to read and to write them.

Records are TypedDicts, checked by pydantic. Measurements are put together as plain dicts,
merged and handed on as such; with a TypedDict mypy checks their keys, and no second form
has to be converted from and to, as with dataclasses. `FILES` says which record is in which
file.

Rules for all of them:

- `schema` is the version of the record. It rises when a key is removed or changes its
  meaning. A key is added without, as `NotRequired`: files of earlier runs lack it. Records
  with `numbered=False` had no version at first: one without is of version 1.
- Unknown keys are kept by `read`, since a later version may have written them, and refused
  by `write`, so that every key of a file is documented here.
- Numbers are finite and of their type: no text, no boolean, no 1.0 for an integer. What
  could not be measured is null.
- A file is written whole or not at all (`files.atomic_write`).

Metrics are in percent unless their type says otherwise; boxes are `[ymin, xmin, ymax, xmax]`
in pixels of the original image.
"""

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from mkd_tf.checks import MkdError, fail
from mkd_tf.files import atomic_write, to_json, write_json
from mkd_tf.schemas.deployment import BenchmarkFile, DiagnosisFile, ManifestFile, SuiteFile
from mkd_tf.schemas.inspection import AdviceFile, InspectionFile, ReviewFile
from mkd_tf.schemas.training import (
    DetectionsFile,
    DoneFile,
    EvaluationFile,
    ResultsFile,
    StageFile,
    StateFile,
)

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      what: its content, in messages.
      path: where it lies in the folder that a program writes into, as a glob; empty where
        the user names the file.
      do: what to do about a damaged one.
      numbered: whether it had a version from the beginning.
      missing: what to do where there is none.
      version: of its record.
    """

    what: str
    path: str
    do: str
    numbered: bool = True
    missing: str = "Check the path."
    version: int = 1


_TRAIN = "Train or evaluate in this --workdir first."
FILES: dict[Any, Kind] = {
    ResultsFile: Kind("results", "results.json", "restore it or measure again", missing=_TRAIN),
    DoneFile: Kind(
        "a stage's figures", "*/done.json", "delete it to finish this stage again", numbered=False
    ),
    StageFile: Kind("a stage's settings", "*/stage.json", "delete its folder to begin again", numbered=False),
    StateFile: Kind("a stage's state", "*/backup/epoch_*/state.json", "delete its folder", numbered=False),
    ManifestFile: Kind("a manifest", "export/manifest.json", "delete it and export again"),
    DiagnosisFile: Kind("a diagnosis", "export/*diagnosis.json", "diagnose again"),
    DetectionsFile: Kind("detections", "detections.json", "predict again"),
    InspectionFile: Kind("an inspection", "data.json", "inspect again"),
    ReviewFile: Kind("a review of labels", "review.json", "review again"),
    AdviceFile: Kind("a chosen schedule", "advice.json", "begin in another work directory"),
    EvaluationFile: Kind("an evaluation", "", "evaluate again", numbered=False),
    BenchmarkFile: Kind("a benchmark", "", "time the files again", numbered=False),
    SuiteFile: Kind("a suite of benchmarks", "", "run the suite again"),
}
"""Every JSON file that a program writes, by its record."""

# Names of keys in files that were written when images were called pictures.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_EARLIER = {"pictures": "images", "picture_ids": "image_ids"}


def read(path: str | Path, record: type[R]) -> R:
    """Reads a file of `FILES`; an absent version is filled in, unknown keys are kept.

    Args:
      path: of the file.
      record: what is in it, as `ResultsFile`.

    Raises:
      MkdError: naming the file and the first wrong field, if there is no such file, or it is
        damaged, of another version or not of the record.
    """
    kind = FILES[record]
    again = f"{kind.do[0].upper()}{kind.do[1:]}."
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_refuse)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()  # Half a letter could not be written again.
    except FileNotFoundError:
        fail(str(path), expected=kind.what, got="no such file", do=kind.missing)
    except OSError as error:
        raise MkdError(f"{path}: {kind.what} cannot be read: {error.strerror}. Check the path.") from None
    except (ValueError, RecursionError) as error:  # Thousands of brackets end the parser.
        fail(str(path), expected="JSON", got=f"a damaged file ({error})", do=again)
    if isinstance(found, dict):
        found = {_EARLIER.get(key, key): value for key, value in found.items()}
        got = found.setdefault("schema", None if kind.numbered else 1)
    else:
        got = type(found).__name__
    if got != kind.version:
        fail(
            str(path),
            expected=f"{kind.what} of schema {kind.version}",
            got=str(got),
            do=f"Use the version of mkd_tf that wrote it, or {kind.do}.",
        )
    _check(found, record, str(path), "allow", again)
    return found


def write(path: str | Path, content: R, record: type[R]) -> None:
    """Writes a file of `FILES`, whole or not at all.

    Args:
      path: of the file.
      content: what the record says; its version is added. NumPy scalars and arrays become
        plain numbers and lists.
      record: what is to be in the file.

    Raises:
      MkdError: naming the first wrong or unknown field; or if it cannot be written.
    """
    write_json(path, _written(content, record, str(path)))


@contextlib.contextmanager
def growing(
    path: str | Path, content: Mapping[str, Any], record: Any, field: str
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """As `write`, for a record with a long list that is never in memory as a whole.

    Args:
      path: of the file.
      content: what the record says. The list is empty; what stands behind it in `content`
        may be filled until the block ends.
      record: what is to be in the file.
      field: the list's key.

    Yields:
      the function that appends an item to the list.
    """
    where = str(path)
    head = _written(content, record, where)
    place = list(head).index(field)

    def fields(checked: Mapping[str, Any], names: Iterable[str]) -> list[str]:
        return [f"{json.dumps(name)}: {to_json(checked[name], where)}" for name in names]

    with atomic_write(path) as stream:
        stream.write(f"{{{', '.join([*fields(head, list(head)[:place]), json.dumps(field)])}: [".encode())
        separator = "\n"

        def append(item: Mapping[str, Any]) -> None:
            nonlocal separator
            (checked,) = _written({**head, field: [item]}, record, where)[field]
            stream.write((separator + to_json(checked, where)).encode())
            separator = ",\n"

        yield append
        tail = fields(_written(content, record, where), list(head)[place + 1 :])
        stream.write(f"\n{', '.join([']', *tail])}}}\n".encode())


def _written(content: Any, record: Any, where: str) -> dict[str, Any]:
    """Returns what a file with `content` holds, as plain values, checked."""
    # NaN passes here: the check says in which field it is.
    plain = json.loads(to_json({"schema": FILES[record].version, **content}, where, allow_nan=True))
    _check(plain, record, where, "forbid", "Correct the value; mkd_tf.schemas has the keys.")
    return plain


@functools.cache
def _adapter(record: Any) -> TypeAdapter[Any]:
    return TypeAdapter(record)


def _check(content: Any, record: Any, where: str, extra: Any, do: str) -> None:
    """Raises `MkdError` with the first field that is not as `record` says."""
    try:
        _adapter(record).validate_python(content, strict=True, extra=extra)
    except ValidationError as error:
        # A wrong value says more than a missing one.
        first = min(error.errors(include_url=False), key=lambda e: e["type"] == "missing")
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        got, expected = repr(first["input"]), first["msg"].removeprefix("Input should be ")
        if expected.startswith(("greater", "less")):
            expected = f"a number {expected}"
        elif first["type"] == "missing":
            got, expected = "nothing", "a value"
        elif first["type"] == "extra_forbidden":
            expected = "no such key"
        got = got if len(got) <= 60 else f"{got[:57]}..."
        fail(f"{where}: {field.removeprefix('.')}", expected=expected, got=got, do=do)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")
