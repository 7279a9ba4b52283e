"""Compression as a user runs it: on a finished work directory, then exported."""

import json
import subprocess

import pytest

from mkd_tf.schemas.training import StageFile
from tests.export import programs
from tests.programs import written

NET = "tiny(widths=(8,8,16,16),pyramid=8)"
RUN = [
    "--dataset=shapes(train=24, validation=6, test=6, unlabelled=12, size=64)",
    "--image_size=64",
    "--batch_size=8",
    f"--teacher={NET}",
    "--guide=none",
    f"--student={NET}",
    "--teacher_epochs=1",
    "--student_epochs=1",
]
CHAINS = "prune(sparsity=0.5)+qat"


def run(module: str, *flags: str) -> subprocess.CompletedProcess:
    return programs.run(*flags, module=module, timeout=600)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_run_is_compressed_and_exported(tmp_path):
    workdir = tmp_path / "run"
    where = [f"--workdir={workdir}", f"--data_dir={tmp_path / 'data'}"]
    done = run("mkd_tf.train", *RUN, *where)
    assert done.returncode == 0, done.stderr
    compress = [f"--compress={CHAINS}", "--compress_epochs=1"]
    done = run("mkd_tf.train", *RUN, *where, *compress)
    assert done.returncode == 0, done.stderr
    assert "student: done before" in done.stdout
    results = json.loads((workdir / "results.json").read_text())
    plain = results["roles"]["student"]
    for role in ("student_prune", "student_prune_qat"):
        assert results["roles"][role]["steps"] == plain["steps"]
        assert results["roles"][role]["parameters"] == plain["parameters"], (
            "of what ships, not of what trains"
        )

    again = run("mkd_tf.train", *RUN, *where, f"--compress={CHAINS}", "--compress_epochs=2")
    assert again.returncode == 0, "stages that are done stay as they are"
    assert "student_prune_qat: done before" in again.stdout
    assert "student_prune_qat: begun with another setting: epochs was 1, is 2" in again.stdout

    done = run("export.tflite", f"--workdir={workdir}", "--role=student_prune_qat", "--max_ap_drop=100")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((workdir / "export" / "manifest.json").read_text())
    weights = manifest["files"]["student_prune_qat_int8.tflite"]["weights"]
    assert weights["zeros"] >= 0.45
    assert manifest["files"]["student_prune_qat_int8.tflite"]["calibration"] == []
    files = written.records_in(workdir)
    assert StageFile in files.values()
    written.check(files)
    assert written.missing_keys({p: r for p, r in files.items() if r is StageFile}) == set()


@pytest.mark.slow
def test_a_student_that_cannot_be_quantised_is_refused_before_anything_trains(tmp_path):
    flags = [flag for flag in RUN if not flag.startswith("--student=")]
    done = run(
        "mkd_tf.train",
        *flags,
        "--student=resnet(depth=10, width=0.25)",
        "--compress=squash",
        f"--workdir={tmp_path / 'run'}",
        f"--data_dir={tmp_path / 'data'}",
    )
    assert done.returncode != 0
    assert "expected one of float, qat, prune, cluster, got 'squash'" in done.stderr
    assert not (tmp_path / "run").exists()
