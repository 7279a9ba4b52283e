"""`mkd kit` as users call and miscall it."""

import sys
from pathlib import Path

import pytest

from mkd_tf import kit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the program; returns its exit status, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mkd kit", *arguments])
        status = 0
        try:
            kit.console()
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return call


def kit_files(name: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (ROOT / "export" / name).iterdir() if p.is_file()}


def test_kits_are_listed_with_their_titles(run):
    status, out, _ = run()
    assert status == 0
    for name in kit.KITS:
        heading = kit_files(name)["README.md"].decode().splitlines()[0].removeprefix("# ")
        assert any(line.split(maxsplit=1) == [name, heading] for line in out.splitlines())


@pytest.mark.parametrize("name", kit.KITS)
def test_a_kit_is_copied_whole(name, run, tmp_path):
    status, out, _ = run(name, str(tmp_path / "new" / "folder"))
    assert status == 0
    copied = {p.name: p.read_bytes() for p in (tmp_path / "new" / "folder").iterdir()}
    assert copied == kit_files(name)
    assert [Path(line).name for line in out.splitlines()] == sorted(copied)


def test_files_are_replaced_only_with_force(run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "other.txt").write_text("mine")
    status, _, err = run("coral", str(tmp_path))
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "--force" in err
    assert (tmp_path / "README.md").read_text() == "mine"
    assert run("coral", str(tmp_path), "--force")[0] == 0
    assert (tmp_path / "README.md").read_bytes() == kit_files("coral")["README.md"]
    assert (tmp_path / "other.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["corel"], ["android or coral", "'corel'"]),
        (["coral"], ["a folder", "NAME FOLDER"]),
        (["coral", "{file}"], ["a folder", "a file"]),
        (["coral", "{file}/below"], ["{file}"]),
    ],
)
def test_mistakes_are_one_line(arguments, words, run, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    status, out, err = run(*(argument.format(file=file) for argument in arguments))
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word.format(file=file) in err for word in words)
