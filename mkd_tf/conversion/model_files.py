"""Models in files, by the suffix that tells their kind."""

from collections.abc import Callable, Collection
from pathlib import Path

from mkd_tf.checks import fail
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.results import in_order
from mkd_tf.evaluation.runners import KerasRunner, Runner

RUNNERS: dict[str, Callable[[str], Runner]] = {
    ".keras": lambda path: KerasRunner(load_detector(path)),
    ".tflite": TFLiteRunner,
    ".onnx": OnnxRunner,
}


def kind_of(path: str | Path, kinds: Collection[str], do: str = "Give a model of one of these kinds.") -> str:
    """Returns the suffix that tells what a model's file is, one of `kinds`.

    Raises:
      MkdError: if it is none of them; `do` is what to do then.
    """
    # The last suffix: a name may have dots of its own.
    suffix = Path(path).suffix.lower()
    if suffix not in kinds:
        listed = (" or " if len(kinds) == 2 else ", ").join(kinds)
        fail(f"model {path}", expected=f"a file that ends in {listed}", got=suffix or "no suffix", do=do)
    return suffix


def load_runner(path: str | Path) -> Runner:
    """Returns a runner of the model in a file.

    Raises:
      MkdError: if there is no such file, it is damaged, or of a kind that nothing here runs.
    """
    return RUNNERS[kind_of(path, RUNNERS)](str(path))


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
    roles = trained_roles(workdir)
    fail(
        f"model {model}",
        expected=f"a file ({', '.join(RUNNERS)}) or a role of {workdir}: {', '.join(roles) or 'none yet'}",
        got="no such file",
        do="Correct --model.",
    )
