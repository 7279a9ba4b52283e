"""Models in files, by the ending of the file's name: Keras models and every format of `FORMATS`."""

from collections.abc import Callable
from pathlib import Path

from mkd_tf import schemas
from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion import format_endings
from mkd_tf.conversion.base import FileRunner
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.results import in_order
from mkd_tf.evaluation.runners import KerasRunner, Runner
from mkd_tf.files import hash_of
from mkd_tf.schemas.deployment import ManifestFile

KERAS = ".keras"


def _kind(path: str | Path, kinds: list[str], do: str) -> str:
    # The last suffix: a name may have dots of its own.
    ending = Path(path).suffix.lower()
    if ending not in kinds:
        listed = (" or " if len(kinds) == 2 else ", ").join(kinds)
        fail(f"model {path}", expected=f"a file that ends in {listed}", got=ending or "no suffix", do=do)
    return ending


def _check_recorded(path: str | Path) -> None:
    """Raises `MkdError` if a manifest beside an exported file says that it was another."""
    path = Path(path)
    try:
        files = schemas.read(path.with_name("manifest.json"), ManifestFile)["files"]
    except MkdError:  # There is none, or that of somebody else.
        return
    if path.name in files and path.is_file() and hash_of(path) != files[path.name]["sha256"]:
        do = "Export it again, or give a changed file another name."
        fail(f"model {path}", expected="the file that manifest.json names", got="another one", do=do)


def load_runner(path: str | Path) -> Runner:
    """Returns a runner of the model in a file.

    Raises:
      MkdError: if there is no such file, it is damaged, or its kind is not known.
    """
    _check_recorded(path)
    runners: dict[str, Callable[[str], Runner]] = {KERAS: lambda path: KerasRunner(load_detector(path))}
    runners |= {ending: form.runner for ending, form in format_endings().items()}
    return runners[_kind(path, list(runners), "Give a model of one of these kinds.")](str(path))


def load_file_runner(path: str, threads: int) -> FileRunner:
    """Returns a runner of an exported file, with `threads` for the interpreter.

    Raises:
      MkdError: as `load_runner` does; a Keras model is refused.
    """
    _check_recorded(path)
    forms = format_endings()
    ending = _kind(path, list(forms), "Export the network first: python -m export.tflite.")
    return forms[ending].runner(path, threads=threads)


def trained_roles(workdir: str | Path) -> list[str]:
    """Returns the roles that a work directory has a network of, the known ones first."""
    return in_order(p.parent.name for p in Path(workdir).glob("*/best.keras"))


def find_model(workdir: str | Path, model: str) -> Path:
    """Returns the file that `model` means: a role of the work directory, or a path.

    Raises:
      MkdError: if it is neither.
    """
    for path in (Path(workdir, model, "best.keras"), Path(model)):
        if path.is_file():
            return path
    roles, kinds = trained_roles(workdir), [KERAS, *format_endings()]
    expected = f"a file ({', '.join(kinds)}) or a role of {workdir}: {', '.join(roles) or 'none yet'}"
    fail(f"model {model}", expected=expected, got="no such file", do="Correct --model.")
