"""The program: a tiny ablation with real trainings, a dry run, and misuse."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mkd_tf.experiments.matches import Matches, average_precision
from mkd_tf.experiments.spec import read_experiment
from tests import zygote

FILE = """
seeds = [0]
control = "soft"
[flags]
image_size = 64
labelled = 8
batch_size = 8
teacher_epochs = 1
student_epochs = 1
eval_every = 1
teacher = "{net}"
guide = "none"
deterministic = true
tensorboard = false
data_dir = "{folder}/data"
[datasets]
shapes = "shapes(train=16, validation=4, test=8, unlabelled=8, size=64)"
[networks]
tiny = "{net}"
[arms.soft]
strategies = "soft_classes, soft_boxes"
[arms.alone]
strategies = ""
unlabelled_share = 0.0
"""
NET = "tiny(widths=(8,8,16,16),pyramid=8)"


def ablate(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "experiment.toml"
    file.write_text(FILE.replace("{net}", NET).replace("{folder}", str(tmp_path)))
    return zygote.run(
        "mkd_tf.ablate", (f"--file={file}", f"--workdir={tmp_path / 'runs'}", *flags), timeout=1200
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_tiny_ablation(tmp_path):
    done = ablate(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    root = tmp_path / "runs"
    with open(root / "results.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], row["seed"]) for row in rows] == [("soft", "0"), ("alone", "0")]
    assert {row["teacher"] for row in rows} == {"0"} and {row["steps"] for row in rows} == {"3"}
    for row in rows:
        matches = Matches.load(root / row["path"] / "matches.npz")
        ap = average_precision(matches, np.ones((1, len(matches.objects))))[0]
        assert ap == pytest.approx(float(row["AP"]), abs=1e-3)
        assert list((root / "hparams").glob(f"{row['arm']}-shapes-tiny-{row['seed']}/events.*"))
        # Nothing but the student was trained there.
        assert not (root / row["path"] / "teacher/history.csv").exists()
    assert len(list((root / "shared").rglob("history.csv"))) == 1
    assert "| alone | soft | 1 |" in done.stdout
    # What `mkd report` reads the rule from.
    assert read_experiment(root / "experiment.toml").control == "soft"
    again = ablate(tmp_path)
    assert again.returncode == 0 and "3/3" not in again.stdout, again.stdout + again.stderr


def test_a_dry_run_trains_nothing(tmp_path):
    done = ablate(tmp_path, "--dry_run", "--shard=1/2")
    assert done.returncode == 0, done.stderr
    assert "-m mkd_tf.train" in done.stdout and "1 of 2 cells: 2 arms x 1 seeds" in done.stdout
    assert "cells/shapes/tiny/alone/seed0: to do" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_some_arms(tmp_path):
    done = ablate(tmp_path, "--dry_run", "--arms= alone")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 cells" in done.stdout and "/soft/" not in done.stdout


def test_an_arm_that_is_none(tmp_path):
    done = ablate(tmp_path, "--dry_run", "--arms=alone,hints")
    assert done.returncode == 1
    assert "error: arms: expected arms of the file: soft, alone, got hints" in done.stderr


@pytest.mark.parametrize("shard", ["2/2", "1", "a/b", "-1/2"])
def test_a_shard_that_is_none(tmp_path, shard):
    done = ablate(tmp_path, f"--shard={shard}", "--dry_run")
    assert done.returncode == 1
    assert "error: shard: expected i/n" in done.stderr
