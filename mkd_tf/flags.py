"""Flags and the frame around every program: the only module that reads FLAGS.

Each field of a program's option classes is one flag. Flags are defined when the
program starts, not when it is imported.
"""

import dataclasses
import itertools
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from mkd_tf.checks import MkdError, fail
from mkd_tf.config import Config, from_values, options
from mkd_tf.file_limits import set_limits
from mkd_tf.options import Options
from mkd_tf.quiet_start import quiet_tensorflow
from mkd_tf.training.workdir import FLAGS_FILE
from mkd_tf.version import __version__

FLAGS = flags.FLAGS
_DEFINE: dict[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    type(None): flags.DEFINE_float,  # A number that may be left out.
}
_WIDEST = 110


@dataclasses.dataclass(frozen=True)
class Several:
    """Options whose flags of text with `choices` take several values, comma-separated.

    The program gets a tuple: one object for each combination of values.
    """

    options: type[Options]


Group = type[Options] | type[Config] | Several


def _parts(group: Group) -> list[type[Options]]:
    """Returns the classes whose fields are the flags of `group`."""
    if isinstance(group, Several):
        return [group.options]
    if group is Config:
        return [field.default_factory for field in dataclasses.fields(Config)]  # type: ignore[misc]
    return [group]  # type: ignore[list-item]


def _define(fields: Iterator[dataclasses.Field], values: flags.FlagValues) -> None:
    for field in fields:
        default: Any = field.default
        _DEFINE[type(default)](field.name, default, field.metadata["help"], flag_values=values)


def _value(name: str) -> Any:
    """Returns a flag's value; raises `MkdError` for the two mistakes that a flagfile invites."""
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


def _build(group: Group) -> Any:
    """Returns the options that the flags describe.

    Raises:
      MkdError: naming the flag whose value is not allowed.
    """
    parts = [[field.name for field in dataclasses.fields(part)] for part in _parts(group)]
    values = {name: _value(name) for names in parts for name in names}
    try:
        if isinstance(group, Several):
            return _combinations(group.options, values)
        return from_values(values) if group is Config else group(**values)
    except MkdError as error:
        if str(error).split(":")[0] in values:
            raise MkdError(f"flag --{error}") from None
        raise


def _combinations(group: type[Options], values: dict[str, Any]) -> tuple[Options, ...]:
    several = {f.name for f in dataclasses.fields(group) if f.metadata["choices"] and f.type in (str, "str")}
    columns = [
        [part.strip() for part in value.split(",")] if name in several else [value]
        for name, value in values.items()
    ]
    return tuple(group(**dict(zip(values, row, strict=True))) for row in itertools.product(*columns))


def given() -> frozenset[str]:
    """Returns the options of a training run that this call gives, itself or by a flagfile."""
    return frozenset(name for name in options() if name in FLAGS and FLAGS[name].present)


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
    _define(iter(options().values()), stored)
    try:
        stored(["stored", f"--flagfile={path}"])
    except (flags.Error, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise MkdError(
            f"{path}: not of this version, or damaged ({reason}). Train again, or use that version."
        ) from None
    return from_values({name: stored[name].value for name in options()} | {"workdir": workdir})


def _program() -> list[str]:
    """Returns the words that start this program."""
    program = Path(sys.argv[0])
    if program.suffix == ".py":
        return ["python", "-m", f"{program.resolve().parent.name}.{program.stem}"]
    # `mkd train` is the name of one program.
    return program.name.split()


def command() -> str:
    """Returns how the program was called."""
    return shlex.join([*_program(), *sys.argv[1:]])


def describe(group: type[Options], prefix: str = "--") -> str:
    """Returns the first line of a class's docstring, and its fields with default and help."""
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    lines = [(group.__doc__ or "").split("\n")[0].rstrip(".") + ":"]
    for field in dataclasses.fields(group):
        choices = [str(choice) for choice in field.metadata["choices"]]
        listed = f" One of {', '.join(choices)}." if choices else ""
        default: Any = field.default
        shown = str(default).lower() if isinstance(default, bool) else str("" if default is None else default)
        name = f"  {prefix}{field.name}={shown}"
        text = textwrap.wrap(field.metadata["help"] + listed, width - 32)
        if len(name) > 30:
            lines.append(name)
            name = ""
        lines += [f"{start:<30}  {line}" for start, line in itertools.zip_longest([name], text, fillvalue="")]
    return "\n".join(lines)


def _help(about: str, groups: list[type[Options]], appendix: str) -> str:
    common = (
        "Every program:\n"
        "  --flagfile=FILE               A file of flags, one a line.\n"
        "  --limits=                     Of files: megapixels=89, model_gib=4, layers_mib=64, text_gib=2.\n"
        "  --debug                       Show tracebacks.\n"
        "  --help, --version"
    )
    usage = f"usage: {' '.join(_program())} [--flag=value ...]"
    texts = [usage, about.strip(), *(describe(group) for group in groups), common, appendix]
    return "\n\n".join(text for text in texts if text)


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


def _message(error: Exception) -> str:
    """Returns an error in one line, without what TensorFlow's runtime wraps around one of ours."""
    text = str(error)
    inner = re.search(r"MkdError: (.*?)(?:\s*Traceback \(most recent|$)", text, flags=re.DOTALL)
    if isinstance(error, MkdError) or inner:
        return " ".join((inner[1] if inner else text).split())
    return " ".join(f"{type(error).__name__}: {text} (--debug shows where)".split())


class PlainLines(logging.Formatter):
    """Log lines for users: what is told is a bare line, a warning or an error begins with that word."""

    def format(self, record: logging.LogRecord) -> str:
        word = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        is_own = record.name.partition(".")[0] == __name__.partition(".")[0]
        lines = [f"{word}{'' if is_own else f'{record.name}: '}{record.getMessage()}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


def run(
    main: Callable[..., int | None],
    *groups: Group,
    about: str | None,
    appendix: str = "",
    interrupted: str = "interrupted",
) -> None:
    """Runs a program on the flags in `sys.argv`; an error becomes one line and a non-zero exit.

    Args:
      main: the program; takes what is made of each of `groups`, returns its exit status or None.
      groups: the options; every field is a flag.
      about: what --help prints above the flags: the program's docstring, with an example.
      appendix: what --help prints below the flags.
      interrupted: what is printed when the user stops it.
    """
    parts = [part for group in groups for part in _parts(group)]
    given = set(sys.argv[1:])
    # Before anything heavy is imported, and with status 0: absl's own --help exits with 1.
    if given & {"--help", "-help", "-h", "--helpshort"}:
        # `--help | head` ends as quietly as other programs do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(_help(about or "", parts, appendix))
        sys.exit()
    if "--version" in given:
        print(f"mkd_tf {__version__}")
        sys.exit()
    _define((field for part in parts for field in dataclasses.fields(part)), FLAGS)
    flags.DEFINE_bool("debug", False, "Show tracebacks.")
    flags.DEFINE_string("limits", "", "Limits of files.")
    FLAGS.set_default("stderrthreshold", "warning")

    def guarded(argv: list[str]) -> int:
        del argv
        absl_logging.get_absl_handler().setFormatter(PlainLines())
        if not FLAGS.debug:
            quiet_tensorflow()
        try:
            set_limits(_value("limits"))
            return main(*(_build(group) for group in groups)) or 0
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Whoever read the output is gone, as `head` is after its lines.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except Exception as error:
            if FLAGS.debug:
                traceback.print_exc()
            print(f"error: {_message(error)}", file=sys.stderr)
            return 1

    app.run(guarded, flags_parser=_parse)
