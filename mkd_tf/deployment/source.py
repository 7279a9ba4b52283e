"""Finds the trained network of a work directory, and reads the labels to show."""

from pathlib import Path

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.model_files import trained_roles


def trained_model(workdir: str | Path, role: str) -> Path:
    """Returns the path of the best weights of a role.

    Raises:
      MkdError: if that role was not trained there.
    """
    path = Path(workdir, role, "best.keras")
    if not path.is_file():
        trained = trained_roles(workdir)
        fail(
            f"workdir {workdir}",
            expected=f"a trained {role} ({role}/best.keras)",
            got=f"only {', '.join(trained)}" if trained else "no trained model",
            do="Let the training end first, or choose another --role.",
        )
    return path


def read_labels(path: str) -> list[str] | None:
    """Returns the lines of a text; None for an empty path.

    Raises:
      MkdError: if it cannot be read, or is no UTF-8.
    """
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MkdError(
            f"labels {path}: cannot be read ({error}). Give a UTF-8 text, a label a line."
        ) from None
