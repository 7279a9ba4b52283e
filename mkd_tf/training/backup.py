"""Backups from which a killed run goes on: a folder written beside and renamed.

A backup holds arrays by name (`arrays.npz`, no pickle) and plain values
(`state.json`), and the SHA-256 of both (`SHA256SUMS`). A folder is either whole or still
called `.part`. Two generations are kept: if the newest is damaged, the one before counts.
Keras's own BackupAndRestore overwrites its weights in place and writes their epoch
separately; a kill between the two tears the state.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.files import atomic_write, hash_of, storing, write_bytes
from mkd_tf.schemas.training import StateFile
from mkd_tf.training.arrays import DAMAGE, load_arrays
from mkd_tf.training.workers import Workers

_FILES = ("arrays.npz", "state.json")
_SUMS = "SHA256SUMS"
_GENERATIONS = 2


@dataclasses.dataclass(frozen=True)
class Backup:
    """The state of a stage after an epoch, or within one (`state["step"]`).

    `notice` says that a newer one was damaged and is gone; empty if none was.
    """

    arrays: dict[str, np.ndarray]
    state: StateFile
    notice: str = ""


def _complete(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("epoch_*") if p.is_dir() and p.suffix != ".part"]
    # epoch_000003, or epoch_000003_step_000045 for 45 steps more.
    return sorted(found, key=lambda p: [int(n) for n in p.name.split("_") if n.isdecimal()])


def has_backup(folder: Path) -> bool:
    """Whether there is a whole backup in `folder`."""
    return bool(_complete(folder))


def save_backup(folder: Path, epoch: int, arrays: Mapping[str, np.ndarray], state: StateFile) -> Path:
    """Writes the backup after an epoch and, with `state["step"]`, steps of the next.

    Then the older ones are removed, but for one. Returns its folder.
    """
    step = state.get("step", 0)
    final = folder / (f"epoch_{epoch:06d}" + (f"_step_{step:06d}" if step else ""))
    part = final.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with storing(final):
            part.mkdir(parents=True)
        with atomic_write(part / "arrays.npz") as stream:
            np.savez(stream, allow_pickle=False, **dict(arrays))
        schemas.write(part / "state.json", state, StateFile)
        sums = "".join(f"{hash_of(part / name)}  {name}\n" for name in _FILES)
        write_bytes(part / _SUMS, sums.encode())
        shutil.rmtree(final, ignore_errors=True)
        with storing(final):
            os.replace(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in _complete(folder)[:-_GENERATIONS]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_backup(folder: Path) -> Backup | None:
    """Returns the newest whole backup, or None if there is none.

    A damaged one is removed if the one before it is whole.

    Raises:
      MkdError: if none can be read.
    """
    found = _complete(folder)
    damaged: dict[Path, MkdError] = {}
    for path in reversed(found):
        try:
            backup = _read(path)
        except MkdError as error:
            damaged[path] = error
            continue
        for newer in damaged:
            shutil.rmtree(newer, ignore_errors=True)
        lost = ", ".join(f"{newer.name} was damaged ({why})" for newer, why in damaged.items())
        return dataclasses.replace(backup, notice=f"{lost}: {path.name} is used" if lost else "")
    if damaged:
        newest, why = next(iter(damaged.items()))
        raise MkdError(f"{newest}: damaged backup ({why}). Delete {folder} to start its stage again.")
    return None


def common_backup(folder: Path, save_beginning: Callable[[], None], workers: Workers) -> Backup | None:
    """Returns the backup that all workers go on from, or None on one machine if there is none.

    Args:
      folder: of the backups.
      save_beginning: saves the state before the first step. The other workers have the chief's
        initial weights by it.
      workers: of the run.

    Raises:
      MkdError: if none can be read, or a worker does not see that of the chief.
    """
    if workers.count == 1:
        return load_backup(folder)

    def begun() -> Backup | None:
        found = load_backup(folder)
        if found is None:
            save_beginning()
        return found or load_backup(folder)

    def numbers(found: Backup | None) -> list[int]:
        return [_number(found, "epoch"), _number(found, "step"), int(found is None)]

    found = workers.on_chief(begun)
    return workers.agreed(found, lambda: load_backup(folder), numbers, folder, "the chief's newest backup")


def _number(backup: Backup | None, key: Literal["epoch", "step"]) -> int:
    return int(backup.state.get(key, 0)) if backup else 0


def _read(path: Path) -> Backup:
    """Reads one backup; raises `MkdError` with the reason if it is not what was written."""
    try:
        _verify(path)
        return Backup(load_arrays(path / "arrays.npz"), schemas.read(path / "state.json", StateFile))
    except DAMAGE as error:
        raise MkdError(str(error)) from None


def _verify(path: Path) -> None:
    """Raises ValueError if a file differs from its stored hash; earlier backups have none."""
    if not (path / _SUMS).exists():
        return
    stored = (path / _SUMS).read_text(encoding="utf-8", errors="replace").split()
    if stored != [word for name in _FILES for word in (hash_of(path / name), name)]:
        raise ValueError(f"its files differ from {_SUMS}")


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
