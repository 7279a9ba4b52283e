"""The command `mkd`: `mkd train` runs what `python -m mkd_tf.train` runs.

It imports the program that runs and no other. Their lines in `mkd --help` are the
first lines of their docstrings, read from the files without importing them.
"""

import ast
import difflib
import importlib
import signal
import sys
from pathlib import Path

from mkd_tf.version import __version__

# In the order of use; each is a module of the package with a function `console`.
GROUPS = {
    "data": ("inspect_data",),
    "train and measure": ("train", "evaluate", "predict", "label", "ablate", "report"),
    "export and deploy": ("export", "edgetpu_check", "diagnose", "benchmark", "kit"),
}
PROGRAMS = tuple(program for group in GROUPS.values() for program in group)

_HELP = """\
mkd {version}: knowledge distillation of object detectors

usage: mkd PROGRAM [--flag=value ...]
       mkd PROGRAM --help
       mkd --version

{programs}

examples:
  mkd inspect_data --dataset="voc_folder(path='images')"
  mkd train --dataset="voc_folder(path='images')" --workdir=runs/mine
  mkd evaluate --workdir=runs/mine --model=student
  mkd predict --model=runs/mine/student/best.keras --input=images --output=drawn
  mkd export --workdir=runs/mine
  mkd edgetpu_check --model=runs/mine/export/student_int8.tflite
  mkd kit coral coral_kit
"""


def summary(program: str) -> str:
    """Returns the first line of a program's docstring, up to its example."""
    path = Path(__file__).with_name(f"{program}.py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0].split(": `")[0].rstrip(".")


def help_text() -> str:
    """Returns the programs with one line each, and examples."""
    groups = [
        "\n".join([f"{group}:", *(f"  {program:<14} {summary(program)}" for program in programs)])
        for group, programs in GROUPS.items()
    ]
    return _HELP.format(version=__version__, programs="\n\n".join(groups))


def console() -> None:
    """Runs the program that the first argument names."""
    name, *rest = sys.argv[1:] or [""]
    if {"help", "-h", "-help", "--help", "--helpshort"} & {name, *rest}:
        # `mkd train --help | head` ends as quietly as other programs do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if name in ("--help", "-h", "help"):
        print(help_text(), end="")
    elif name == "--version":
        print(f"mkd {__version__}")
    elif name in PROGRAMS:
        # What its --help and its record of the command call it.
        sys.argv = [f"mkd {name}", *rest]
        importlib.import_module(f"mkd_tf.{name}").console()
    elif not name:
        print(help_text(), end="", file=sys.stderr)
        sys.exit(2)
    else:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), PROGRAMS, n=1, cutoff=0.5)
        guess = f"Did you mean {near[0]}? " if near else ""
        print(f"error: mkd has no program {name!r}. {guess}See mkd --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    console()
