"""The command `mkd`."""

import importlib
import re
import signal
import subprocess
import sys

import pytest

from mkd_tf import cli
from mkd_tf.version import __version__


def run(monkeypatch, *arguments: str) -> int:
    """Runs the command; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mkd", *arguments])
    try:
        cli.console()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_has_a_line_for_each_program(flag, monkeypatch, capsys):
    assert run(monkeypatch, flag) == 0
    out = capsys.readouterr().out
    for program in cli.PROGRAMS:
        line = next(line for line in out.splitlines() if line.startswith(f"  {program} "))
        assert len(line.split()) > 3, "a program without a description"
        assert "`" not in line
    assert "examples:" in out
    assert len(out.splitlines()) < 40


def test_nothing_named_prints_the_help_and_fails(monkeypatch, capsys):
    assert run(monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: mkd PROGRAM" in captured.err


def test_version(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"mkd {__version__}\n"


@pytest.mark.parametrize(
    ("given", "guess"),
    [("trian", "Did you mean train?"), ("edgetpu-check", "Did you mean edgetpu_check?"), ("zzz", "")],
)
def test_an_unknown_program_is_one_line(given, guess, monkeypatch, capsys):
    assert run(monkeypatch, given, "--workdir=a") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"error: mkd has no program {given!r}. {guess}")
    assert ("Did you mean" in err) == bool(guess)


def into_a_closed_pipe(*arguments):
    """Returns the status of Python with these arguments, and what it says of the pipe."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    return process.returncode, said


@pytest.mark.parametrize(
    "arguments",
    [
        ["mkd_tf.cli", "--help"],
        ["mkd_tf.cli", "train", "--help"],
        ["mkd_tf.cli", "kit", "--help"],
        ["mkd_tf.train", "--help"],
    ],
)
def test_help_into_a_pipe_that_closes_ends_quietly(arguments):
    assert into_a_closed_pipe("-m", *arguments) == (-signal.SIGPIPE, "")


def test_a_program_whose_reader_is_gone_ends_quietly():
    script = "from mkd_tf import flags; flags.run(lambda: print('a line\\n' * 10_000), about=None)"
    code, said = into_a_closed_pipe("-c", script)
    assert code == 128 + signal.SIGPIPE
    # On some processors TensorFlow's port.cc says of itself that round-off errors may differ.
    ours = re.sub(r"(?m)^I.* port\.cc:.*$", "", said)
    assert "error" not in ours.lower(), said


@pytest.mark.parametrize("program", cli.PROGRAMS)
def test_every_program_gets_its_name_and_arguments(program, monkeypatch):
    module = importlib.import_module(f"mkd_tf.{program}")
    seen = []
    monkeypatch.setattr(module, "console", lambda: seen.append(list(sys.argv)))
    assert run(monkeypatch, program, "--a=1", "b") == 0
    assert seen == [[f"mkd {program}", "--a=1", "b"]]
