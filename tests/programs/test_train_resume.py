"""A run that is killed in every stage ends as one that was left alone, bit for bit."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import mkd_tf  # noqa: F401 (registers the detectors that Keras loads)

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("teacher", "guide", "student_alone", "student", "student_qat")
NET = "tiny(widths=(8,8,16,16),pyramid=8)"
FLAGS = [
    "--dataset=shapes(train=24, validation=6, test=6, unlabelled=12, size=64)",
    "--image_size=64",
    "--labelled=8",
    "--batch_size=8",
    f"--teacher={NET}",
    f"--guide={NET}",
    f"--student={NET}",
    "--teacher_epochs=3",
    "--guide_epochs=3",
    "--student_epochs=3",
    "--strategies=soft_classes, soft_boxes, layer_relation, attention_map, hint(rise=0.2, fall=0.2)",
    "--baseline",
    "--deterministic",
    "--eval_every=2",
]
# Given only where it matters: a quantisation-aware model takes seconds to build.
COMPRESS = ["--compress=qat", "--compress_epochs=3"]


def command(workdir: Path, data_dir: Path, more: list[str]) -> list[str]:
    where = [f"--workdir={workdir}", f"--data_dir={data_dir}"]
    return [sys.executable, "-m", "mkd_tf.train", *FLAGS, *where, *more]


def run(workdir: Path, data_dir: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(workdir, data_dir, list(more)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def kill_in(role: str, workdir: Path, data_dir: Path, *more: str) -> None:
    """Starts the program and kills it as soon as the role has a backup of its first epoch."""
    with open(workdir.with_suffix(".log"), "a", encoding="utf-8") as log:
        process = subprocess.Popen(command(workdir, data_dir, list(more)), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while not list((workdir / role / "backup").glob("epoch_*[0-9]")):
            assert process.poll() is None, f"ended before {role} had a backup"
            assert time.monotonic() < deadline, f"no backup of {role} in 300 s"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (workdir / role / "done.json").exists(), f"{role} was over before the kill"


def rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_each_stage_and_resumed_equals_uninterrupted(tmp_path):
    data_dir = tmp_path / "data"
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    done = run(whole, data_dir, *COMPRESS)
    assert done.returncode == 0, done.stderr
    for role in ROLES[:-1]:
        kill_in(role, torn, data_dir)
    kill_in(ROLES[-1], torn, data_dir, *COMPRESS)
    done = run(torn, data_dir, *COMPRESS)
    assert done.returncode == 0, done.stderr
    for role in ROLES[:-1]:
        assert f"{role}: done before" in done.stdout
    assert "student_qat: going on after epoch 1 of 3" in done.stdout

    for role in ROLES:
        assert rows(whole / role / "history.csv") == rows(torn / role / "history.csv")
        for name in ("best.keras", "last.keras", "final.keras"):
            a, b = (keras.saving.load_model(w / role / name).get_weights() for w in (whole, torn))
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)), f"{role}/{name}"
    results = [json.loads((w / "results.json").read_text()) for w in (whole, torn)]
    for entry in (e for r in results for e in r["roles"].values()):
        entry.pop("seconds")
    assert results[0]["roles"] == results[1]["roles"]
    assert results[0]["schema"] == 1

    # Killed after the last backup and before the end of the stage: nothing is trained again.
    before = json.loads((torn / "student_qat" / "done.json").read_text())
    weights = keras.saving.load_model(torn / "student_qat" / "final.keras").get_weights()
    for name in ("done.json", "final.keras", "last.keras"):
        (torn / "student_qat" / name).unlink()
    again = run(torn, data_dir, *COMPRESS)
    assert again.returncode == 0, again.stderr
    assert "teacher: done before" in again.stdout
    assert "student_qat: going on after epoch 3 of 3" in again.stdout
    after = json.loads((torn / "student_qat" / "done.json").read_text())
    assert before | {"seconds": 0} == after | {"seconds": 0}
    after = keras.saving.load_model(torn / "student_qat" / "final.keras").get_weights()
    assert all(np.array_equal(x, y) for x, y in zip(weights, after, strict=True))
