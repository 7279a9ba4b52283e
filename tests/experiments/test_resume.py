"""An ablation goes on after any kill, and ends with the same tables."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fake_ablation.py")
ROOT = Path(__file__).resolve().parents[2]
SAME = ("results.csv", "summary.csv", "summary.md", "summary.tex")
FILE = """
seeds = [0, 1, 2, 3]
teachers = 2
control = "soft"
[flags]
guide = "tiny(size='guide')"
[rule]
draws = 200
[datasets]
one = "shapes"
[networks]
small = "tiny(size='student')"
[arms.soft]
[arms.beta]
beta = 1.5
[arms.no_guide]
guide = "none"
[arms.own_guide]
guide_epochs = 3
"""


def start(
    tmp_path: Path, root: Path, jobs: int = 2, shard: str = "0/1", **environment: str
) -> subprocess.Popen:
    file = tmp_path / "experiment.toml"
    if not file.exists():
        file.write_text(FILE)
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(file), str(root), str(jobs), shard],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background lets its children ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def end(process: subprocess.Popen, status: int = 0) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, out + err
    return out


def tables(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in SAME}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    probe = folder / "probe"
    printed = end(start(folder, folder / "root", FAKE_PROBE=str(probe)))
    return folder / "root", probe.read_text().splitlines(), printed


def test_each_job_runs_once_with_one_thread(whole):
    root, probed, printed = whole
    names = [line.split()[:2] for line in probed]
    cells = [name for role, name in names if role == "student" and name.startswith("seed")]
    assert len(cells) == 4 * 4
    # Two teachers for four seeds; a guide per teacher, and one with flags of its own.
    assert len(list((root / "shared/one").glob("teacher_*"))) == 2
    assert len(list((root / "shared/one").glob("guide_*"))) == 4
    assert {line.split()[2] for line in probed} == {"1"}
    assert "22/22" in printed and "left" in printed
    rows = (root / "results.csv").read_text().splitlines()
    assert len(rows) == 17 and rows[0].startswith("arm,dataset,network,seed,teacher,AP,AP50")
    assert rows[1].startswith("soft,one,small,0,0,") and rows[1].endswith(",1000,cells/one/small/soft/seed0")
    assert "seconds" not in rows[0] and "seconds" in (root / "times.csv").read_text()


def test_a_second_start_trains_nothing(whole, tmp_path):
    root, before = whole[0], tables(whole[0])
    probe = tmp_path / "probe"
    (tmp_path / "experiment.toml").write_text(FILE)
    end(start(tmp_path, root, FAKE_PROBE=str(probe)))
    assert not probe.exists()
    assert tables(root) == before


def child_of(process: subprocess.Popen) -> int | None:
    """Waits for a child of the process, and returns its id; None when the process ends first."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    return None


@pytest.mark.slow
def test_killed_ten_times_at_random_ends_with_the_same_tables(whole, tmp_path):
    root, chance = tmp_path / "root", random.Random(5)  # noqa: S311 (not for secrets)
    for kill in range(10):
        process = start(tmp_path, root, jobs=1 + kill % 2, FAKE_PAUSE="0.04")
        if kill % 5:  # Others are killed while they start.
            child_of(process)
        time.sleep(chance.uniform(0, 0.8))
        # Every other time the children live on: they finish what they do, or are found to hold the lock.
        if kill % 2:
            process.send_signal(signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert list(root.glob("cells/**/results.json"))
    end(start(tmp_path, root))
    assert tables(root) == tables(whole[0])


def test_a_killed_child_is_started_again(whole, tmp_path):
    root, killed = tmp_path / "root", 0
    process = start(tmp_path, root, jobs=1, FAKE_PAUSE="0.1")
    while killed < 3 and (child := child_of(process)):
        time.sleep(0.2)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            killed += 1
        time.sleep(0.4)
    # One of them may have ended just before.
    assert end(process).count(": killed after") in (2, 3)
    assert tables(root) == tables(whole[0])


def test_two_shards_in_one_folder_end_with_the_same_tables(whole, tmp_path):
    root = tmp_path / "root"
    (tmp_path / "experiment.toml").write_text(FILE)
    for process in [start(tmp_path, root, 1, f"{i}/2", FAKE_PAUSE="0.03") for i in range(2)]:
        end(process)
    assert tables(root) == tables(whole[0])


@pytest.mark.parametrize("wait", [0, 0, 0, 0.3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ablation_ends_its_children(tmp_path, number, wait):
    # Some before the program knows its child: it exists from the fork on.
    process = start(tmp_path, tmp_path / "root", jobs=1, FAKE_PAUSE="5")
    child = child_of(process)
    time.sleep(wait)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err and process.returncode == -signal.SIGINT
    assert child and not Path(f"/proc/{child}").exists()


def test_failures_are_told_with_their_log_and_stop_nothing_else(tmp_path):
    (tmp_path / "experiment.toml").write_text(FILE.replace("beta = 1.5", "beta = 666"))
    root = tmp_path / "root"
    printed = end(start(tmp_path, root), status=1)
    for seed in range(4):
        log = root / f"cells/one/small/beta/seed{seed}/train.log"
        assert f"exit status 3, see {log}" in printed
        assert "a loss that is not finite" in log.read_text() and log.read_text().startswith("$ ")
    assert len((root / "results.csv").read_text().splitlines()) == 13
    assert "beta" not in (root / "summary.csv").read_text()


def test_what_waits_for_a_failure_says_so(tmp_path):
    flags = "guide = \"tiny(size='guide')\""
    (tmp_path / "experiment.toml").write_text(FILE.replace(flags, f"{flags}\nbeta = 666"))
    printed = end(start(tmp_path, tmp_path / "root"), status=1)
    teacher = next((tmp_path / "root/shared/one").glob("teacher_seed0_*")).name
    assert f"cells/one/small/soft/seed0: shared/one/{teacher} failed" in printed
    # The only arm that overrides the flag needs the same teacher.
    assert len((tmp_path / "root/results.csv").read_text().splitlines()) == 1


def test_a_folder_that_was_begun_with_other_flags_is_refused(whole, tmp_path):
    (tmp_path / "experiment.toml").write_text(FILE.replace("beta = 1.5", "beta = 1.25"))
    printed = end(start(tmp_path, whole[0]), status=1)
    assert printed.count("--beta was '1.5', is '1.25'") >= 4
    assert "Give the arm another name" in printed
