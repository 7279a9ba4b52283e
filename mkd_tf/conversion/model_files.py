"""Models in files, by the ending of the file's name: Keras models and every format of `FORMATS`."""

from collections.abc import Callable
from pathlib import Path

from mkd_tf.checks import fail
from mkd_tf.conversion import format_endings
from mkd_tf.conversion.base import FileRunner
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.results import in_order
from mkd_tf.evaluation.runners import KerasRunner, Runner

KERAS = ".keras"


def _kind(path: str | Path, kinds: list[str], do: str) -> str:
    # The last suffix: a name may have dots of its own.
    ending = Path(path).suffix.lower()
    if ending not in kinds:
        listed = (" or " if len(kinds) == 2 else ", ").join(kinds)
        fail(f"model {path}", expected=f"a file that ends in {listed}", got=ending or "no suffix", do=do)
    return ending


def load_runner(path: str | Path) -> Runner:
    """Returns a runner of the model in a file.

    Raises:
      MkdError: if there is no such file, it is damaged, or its kind is not known.
    """
    runners: dict[str, Callable[[str], Runner]] = {KERAS: lambda path: KerasRunner(load_detector(path))}
    runners |= {ending: form.runner for ending, form in format_endings().items()}
    return runners[_kind(path, list(runners), "Give a model of one of these kinds.")](str(path))


def load_file_runner(path: str, threads: int) -> FileRunner:
    """Returns a runner of an exported file, with `threads` for the interpreter.

    Raises:
      MkdError: as `load_runner` does; a Keras model is refused.
    """
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
