"""Training runs that are killed, and what two runs must have in common."""

import csv
import io
import json
import signal
import zipfile
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from tests import faults
from tests.export import programs

NET = "tiny(widths=(8,8,16,16),pyramid=8)"
# A run of seconds that can be repeated bit for bit.
FLAGS = (
    "--dataset=shapes(train=24, validation=6, test=6, unlabelled=12, size=64)",
    "--image_size=64",
    "--labelled=8",
    "--batch_size=8",
    f"--teacher={NET}",
    f"--student={NET}",
    "--deterministic",
    "--eval_every=2",
)
FILES = ("best.keras", "last.keras", "final.keras")


def train(workdir: Path, *flags: str) -> str:
    """Trains to the end in a process of its own, which tries no connection; returns what it printed."""
    tried = workdir.with_suffix(".connections")
    done = programs.run(
        *FLAGS,
        *flags,
        f"--workdir={workdir}",
        module="mkd_tf.train",
        timeout=800,
        **{faults.CONNECTIONS: str(tried)},
    )
    assert done.returncode == 0, done.stderr
    assert not tried.exists(), tried.read_text()
    return done.stdout


def damage(workdir: Path, finished: str, last: str) -> None:
    """Damages files of a finished run, of each kind that it mends by itself.

    Args:
      workdir: with a teacher whose boxes are labels.
      finished: a role whose weights get another bit.
      last: a role whose figures and newest backup are damaged.
    """
    flip(workdir / finished / "best.keras")
    (workdir / last / "done.json").write_bytes(b"{")
    flip(max((workdir / last / "backup").glob("epoch_*")) / "arrays.npz")
    (workdir / last / "history.csv").write_bytes(b"\xff\xfe")
    flip(workdir / "teacher" / "boxes.npz")
    results = (workdir / "results.json").read_bytes()
    (workdir / "results.json").write_bytes(results[: len(results) // 2])


def flip(path: Path) -> None:
    """Flips a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


MENDED = (
    r"{finished}: .*best.keras: expected the file that this stage left, got another.* again from its backup",
    r"{last}: .*done.json: expected JSON, got a damaged file.* again from its backup",
    r"{last}: epoch_\d+ was damaged \(its files differ from SHA256SUMS\): epoch_\d+ is used",
    r"boxes.npz: damaged boxes of the teacher .* It is made again",
    r"results.json: expected JSON, got a damaged file .* It is kept as results.json.damaged and begun again",
)
"""What a run says of each kind, on one line without line breaks."""


def kill_in(role: str, workdir: Path, *flags: str, how: signal.Signals = signal.SIGKILL) -> str:
    """Starts the program and strikes it before the role's second backup gets its name.

    Returns what it printed last.
    """
    word = next(word for word, number in faults.SIGNALS.items() if number == how)
    fault = {faults.FAULT: f"{word}:>{role}/backup/epoch_000002:1"}
    arguments = (*FLAGS, *flags, f"--workdir={workdir}")
    done = programs.run(*arguments, module="mkd_tf.train", timeout=800, **fault)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert any(line.startswith(faults.STRUCK) for line in said), f"{role} had no second backup: {said[-1:]}"
    assert done.returncode == faults.EXITS[word], (done.returncode, said[-1])
    assert not (workdir / role / "done.json").exists(), f"{role} was over before the kill"
    return [line for line in said if not line.startswith(faults.STRUCK)][-1]


def weights(path: Path) -> list[np.ndarray]:
    """Returns every weight in a `.keras` file, in the order of their names.

    Read from the file itself: to build the network, a quantised one above all, takes seconds.
    """
    found: dict[str, np.ndarray] = {}

    def keep(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = entry[()]

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(keep)
    assert len(found) > 20, f"{path} holds {len(found)} weights"
    return [found[name] for name in sorted(found)]


def check_equal_weights(found: Iterable[np.ndarray], expected: Iterable[np.ndarray], what: str) -> None:
    """Raises AssertionError unless they are the same bit for bit."""
    assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True)), what


def _rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def _results(workdir: Path) -> dict:
    results = json.loads((workdir / "results.json").read_text())
    for entry in results["roles"].values():
        entry.pop("seconds")
    return results


def check_equal_runs(whole: Path, torn: Path, roles: Iterable[str]) -> None:
    """Raises AssertionError unless every weight, figure and row of the history is the same."""
    for role in roles:
        assert _rows(whole / role / "history.csv") == _rows(torn / role / "history.csv"), role
        for name in FILES:
            check_equal_weights(weights(torn / role / name), weights(whole / role / name), f"{role}/{name}")
    results = [_results(workdir) for workdir in (whole, torn)]
    assert results[0]["roles"] == results[1]["roles"]
    assert set(roles) <= set(results[0]["roles"])
    assert results[0]["schema"] == 1
