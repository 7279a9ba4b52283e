"""Whether a stage is over: its figures and its weights are there, and are what it left.

`done.json` holds the SHA-256 of `best.keras`. A stage whose files were damaged since is
finished again from its backup, which takes no step and gives the same weights.
"""

from pathlib import Path

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.files import hash_of
from mkd_tf.schemas.training import DoneFile, Role

BEST = "best.keras"


def read_done(folder: Path) -> Role | None:
    """Returns what a finished stage left in its folder, or None.

    Raises:
      MkdError: if it is damaged, or `best.keras` is missing or not the file that the stage left;
        earlier versions did not note its hash.
    """
    path = folder / "done.json"
    if not path.exists():
        return None
    done = schemas.read(path, DoneFile)
    noted = done.pop("weights", None)
    best = folder / BEST
    if noted is not None and (not best.is_file() or hash_of(best) != noted):
        do = f"Restore it, or delete {path} to finish this stage again from its backup."
        got = "another" if best.is_file() else "none"
        fail(str(best), expected="the file that this stage left", got=got, do=do)
    done.pop("schema")
    return done


def take_done(folder: Path) -> tuple[Role | None, str]:
    """As `read_done`, for a run that goes on: returns what is damaged in place of raising.

    Raises:
      MkdError: if there is no backup to finish the stage again from.
    """
    try:
        return read_done(folder), ""
    except MkdError as error:
        if not any((folder / "backup").glob("epoch_*")):
            raise
        return None, str(error)


def write_done(folder: Path, entry: Role) -> None:
    """Marks a stage as done, as its last act."""
    best = folder / BEST
    weights = {"weights": hash_of(best)} if best.is_file() else {}
    schemas.write(folder / "done.json", {**entry, **weights}, DoneFile)
