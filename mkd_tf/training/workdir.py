"""The work directory: which run it belongs to, and which of its stages are done."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config, options, to_values
from mkd_tf.files import clear_parts, write_bytes
from mkd_tf.schemas.training import StageFile

FLAGS_FILE = "flags.cfg"
TAKEN = "another process is using this work directory"
"""What a second process is told; `experiments.pool` looks for it in the log of its child."""
_LISTED = 8


def as_flagfile(config: Config) -> str:
    """Returns every option as a line of a flagfile."""
    values = to_values(config)
    return "".join(f"--{name}={str(v).lower() if isinstance(v, bool) else v}\n" for name, v in values.items())


def _flags(text: str) -> dict[str, str]:
    """Returns the values in a flagfile by name; comments and other lines are skipped."""
    lines = [line[2:].split("=", 1) for line in text.splitlines() if line.startswith("--") and "=" in line]
    return dict(lines)


def claim(config: Config) -> Path:
    """Makes the work directory and stores the configuration there; returns the directory.

    Raises:
      MkdError: as `compare` does.
    """
    compare(config)
    folder = Path(config.run.workdir)
    write_bytes(folder / FLAGS_FILE, as_flagfile(config).encode("utf-8"))
    return folder


def lock(folder: Path) -> IO[str]:
    """Locks the work directory for this process, and removes what killed ones left half written.

    The system frees the lock when the process ends, however it ends: keep the handle until then.

    Raises:
      MkdError: if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (it outlives this function)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise MkdError(f"workdir {folder}: {TAKEN}. Wait for it, or use another --workdir.") from None
    clear_parts(folder)
    return handle


def check_images(folder: Path, labels: str, content: str) -> None:
    """Ties the work directory to the images it was begun with.

    Args:
      folder: of the run.
      labels: hash of the images' names, order and labels.
      content: hash of their pixels; work directories of before do not hold it, and get it.

    Raises:
      MkdError: if one of them has changed since.
    """
    path = folder / "images.sha256"
    stored = path.read_text(encoding="utf-8", errors="replace").split() if path.exists() else []
    if path.exists() and len(stored) not in (1, 2):
        do = "Delete it if the data set is that of before."
        fail(str(path), expected="the hashes of the images", got="a damaged file", do=do)
    for what, before, now in zip(("names or labels", "pixels"), stored, (labels, content), strict=False):
        if before != now:
            raise MkdError(
                f"workdir {folder}: the {what} of the images have changed since it was begun. "
                "Train in another --workdir, or restore the data set."
            )
    if len(stored) < 2:
        write_bytes(path, f"{labels}\n{content}\n".encode())


def compare(config: Config) -> None:
    """Checks that the work directory is new, or was made with the same configuration.

    Raises:
      MkdError: naming the options that differ; nothing is changed then.
    """
    folder = Path(config.run.workdir)
    if folder.exists() and not folder.is_dir():
        fail(f"workdir {folder}", expected="a folder", got="a file", do="Choose another --workdir.")
    stored = folder / FLAGS_FILE
    text = as_flagfile(config)
    if stored.exists():
        before, now = _flags(stored.read_text(encoding="utf-8", errors="replace")), _flags(text)
        if not before:
            do = "Delete it to go on, if the flags are those of before."
            fail(str(stored), expected="the flags of the run", got="a damaged file", do=do)
        free = {name for name, field in options().items() if field.metadata["free"]}
        changed = [n for n in now if n not in free and before.get(n) != now[n]]
        changed.sort(key=lambda n: n not in before)  # What a file does not name may be newer than the file.
        if changed:
            listed = "; ".join(f"--{n} was {before.get(n)!r}, is {now[n]!r}" for n in changed[:_LISTED])
            listed += f"; and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
            raise MkdError(
                f"workdir {folder}: it belongs to a run with other flags ({listed}). "
                "Use another --workdir, or the same flags to go on."
            )


def changed_settings(folder: Path, settings: StageFile, same: Callable[[str, Any, Any], bool]) -> list[str]:
    """Returns what differs from the settings that a stage was begun with; nothing where it was not begun.

    Args:
      folder: of the stage.
      settings: of now.
      same: whether two values of a key mean the same.
    """
    path = folder / "stage.json"
    before = schemas.read(path, StageFile) if path.exists() else settings
    pairs = {key: (before.get(key), value) for key, value in settings.items()}
    return [f"{key} was {old!r}, is {new!r}" for key, (old, new) in pairs.items() if not same(key, old, new)]


def claim_stage(folder: Path, settings: StageFile, same: Callable[[str, Any, Any], bool]) -> None:
    """Ties a stage that is not part of the run's own flags to what it was begun with.

    Raises:
      MkdError: if it was begun with other settings.
    """
    if not (folder / "stage.json").exists():
        schemas.write(folder / "stage.json", settings, StageFile)
    changed = changed_settings(folder, settings, same)
    if changed:
        raise MkdError(
            f"stage {folder}: it was begun with other settings ({'; '.join(changed)}). "
            "Go on with those, or delete the folder to begin again."
        )
