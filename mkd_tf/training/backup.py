"""Backups from which a killed run goes on: a folder written beside and renamed.

A backup holds arrays by name (`arrays.npz`, no pickle) and plain values
(`state.json`). A folder is either whole or still called `.part`: the newest whole
one counts. Keras's own BackupAndRestore overwrites its weights in place and
writes their epoch separately; a kill between the two tears the state.
"""

import dataclasses
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.files import atomic_write
from mkd_tf.schemas.training import StateFile


@dataclasses.dataclass(frozen=True)
class Backup:
    """The state of a stage after an epoch."""

    arrays: dict[str, np.ndarray]
    state: StateFile


def _complete(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("epoch_*") if p.is_dir() and p.suffix != ".part"]
    return sorted(found, key=lambda p: int(p.name.split("_")[1]))


def has_backup(folder: Path) -> bool:
    """Whether there is a whole backup in `folder`."""
    return bool(_complete(folder))


def save_backup(folder: Path, epoch: int, arrays: Mapping[str, np.ndarray], state: StateFile) -> None:
    """Writes the backup of a finished epoch, then removes the older ones."""
    final = folder / f"epoch_{epoch:06d}"
    part = final.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with atomic_write(part / "arrays.npz") as stream:
        np.savez(stream, allow_pickle=False, **dict(arrays))
    schemas.write(part / "state.json", state, StateFile)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(part, final)
    for old in _complete(folder):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def load_backup(folder: Path) -> Backup | None:
    """Returns the newest whole backup, or None.

    Raises:
      MkdError: if it cannot be read.
    """
    found = _complete(folder)
    if not found:
        return None
    try:
        with open(found[-1] / "arrays.npz", "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        state = schemas.read(found[-1] / "state.json", StateFile)
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise MkdError(
            f"{found[-1]}: damaged backup ({error}). Delete this folder to start its stage again."
        ) from None
    return Backup(arrays, state)


def arrays_of(owners: Mapping[str, Sequence[keras.Variable]]) -> dict[str, np.ndarray]:
    """Names every variable by its owner and position: `{"student/0": ...}`."""
    return {
        f"{name}/{i}": np.asarray(v) for name, variables in owners.items() for i, v in enumerate(variables)
    }


def restore(
    owners: Mapping[str, Sequence[keras.Variable]], arrays: Mapping[str, np.ndarray], where: Path
) -> None:
    """Assigns `arrays` to the variables they were taken from.

    Raises:
      MkdError: if they do not fit, before anything was assigned.
    """
    expected = {f"{name}/{i}": v for name, variables in owners.items() for i, v in enumerate(variables)}
    wrong = [k for k, v in expected.items() if k not in arrays or tuple(arrays[k].shape) != tuple(v.shape)]
    if wrong or len(expected) != len(arrays):
        fail(
            f"backup {where}",
            expected=f"the {len(expected)} variables of this configuration",
            got=f"{len(arrays)} variables, of which {len(wrong)} do not fit ({', '.join(wrong[:3])})",
            do="Start with another --workdir, or delete this folder.",
        )
    for key, variable in expected.items():
        variable.assign(arrays[key])
