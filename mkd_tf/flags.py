"""Flags and the frame around every program: the only module that reads FLAGS.

Each option of `config.py` is one flag. A program's flags are defined when it
starts, not when it is imported.
"""

import re
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config, from_values, options
from mkd_tf.training.workdir import FLAGS_FILE

FLAGS = flags.FLAGS
# The flags below belong to the program that asks for them: its --help shows them.
flags.disclaim_key_flags()

_DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def define_training() -> None:
    """Defines one flag for every option of a training run."""
    for name, field in options().items():
        default: Any = field.default
        define(name, default, field.metadata["help"])


def define(name: str, default: str | int | float | bool, help: str) -> None:
    """Defines a flag of the default's type."""
    _DEFINE[type(default)](name, default, help)
    # --help lists the flags of the script that runs, which need not be the module that defines them.
    FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[name])


def value(name: str) -> Any:
    """Returns a flag's value, stripped of the two mistakes a flagfile invites.

    Raises:
      MkdError: for a value in quotes or with a comment behind it.
    """
    given = FLAGS[name].value
    if isinstance(given, str):
        quoted = len(given) > 1 and given[0] == given[-1] and given[0] in "'\""
        if quoted or " #" in given:
            fail(
                f"flag --{name}",
                expected="a bare value",
                got=given,
                do="In a flagfile no shell removes quotes, and a comment needs a line of its own.",
            )
    return given


def training_config() -> Config:
    """Returns the configuration that the flags describe.

    Raises:
      MkdError: if an option is out of its range.
    """
    return from_values({name: value(name) for name in options()})


def stored_config(workdir: str) -> Config:
    """Returns the configuration of an earlier run from its work directory.

    Raises:
      MkdError: if there is none, or it is of another version.
    """
    path = Path(workdir) / FLAGS_FILE
    if not path.is_file():
        fail(
            f"workdir {workdir}",
            expected=f"a {FLAGS_FILE} of a training run",
            got="none",
            do="Train there first.",
        )
    stored = flags.FlagValues()
    for name, field in options().items():
        _DEFINE[type(field.default)](name, field.default, "", flag_values=stored)
    try:
        stored(["stored", f"--flagfile={path}"])
    except flags.Error as error:
        raise MkdError(f"{path}: not of this version ({error}). Train again, or use that version.") from None
    return from_values({name: stored[name].value for name in options()} | {"workdir": workdir})


def command() -> str:
    """Returns how the program was called."""
    program = Path(sys.argv[0])
    module = f"{program.resolve().parent.name}.{program.stem}"
    start = ["python", "-m", module] if program.suffix == ".py" else [program.name]
    return shlex.join([*start, *sys.argv[1:]])


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = FLAGS(argv, known_only=False)
    except flags.Error as error:
        hint = " In a flagfile a comment needs a line of its own." if "#" in str(error) else ""
        raise SystemExit(f"error: {error}.{hint} See --help.") from None
    if len(rest) > 1:
        raise SystemExit(
            f"error: expected flags only, got {' '.join(rest[1:])!r}. Write --flag=value; see --help."
        )
    return rest


def _told(error: Exception) -> str:
    """Returns an error in one line; one that crossed TensorFlow's runtime without its wrapping."""
    text = str(error)
    inner = re.search(r"MkdError: (.*?)(?:\s*Traceback \(most recent|$)", text, flags=re.DOTALL)
    if isinstance(error, MkdError) or inner:
        return " ".join((inner[1] if inner else text).split())
    return " ".join(f"{type(error).__name__}: {text} (--debug shows where)".split())


def run(main: Callable[[], int | None], interrupted: str = "interrupted") -> None:
    """Runs a program's `main`; an error becomes one line and a non-zero exit.

    Args:
      main: the program; returns its exit status or None.
      interrupted: what to say when the user stops it.
    """
    flags.DEFINE_bool("debug", False, "Show tracebacks.")
    flags.FLAGS.set_default("stderrthreshold", "warning")

    def guarded(argv: list[str]) -> int:
        del argv
        try:
            return main() or 0
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            return 130
        except Exception as error:
            if FLAGS.debug:
                traceback.print_exc()
            print(f"error: {_told(error)}", file=sys.stderr)
            return 1

    app.run(guarded, flags_parser=_parse)
