"""The export program as users call and miscall it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mkd_tf.config import from_values
from mkd_tf.data import DATASETS
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import save_detector
from mkd_tf.training.workdir import as_flagfile, lock
from tests import harness

ROOT = Path(__file__).resolve().parents[2]
DATASET = "shapes(train=4, validation=3, test=3, unlabelled=0, size=64)"


def run(*flags: str, module: str = "export.tflite") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def error_of(done: subprocess.CompletedProcess) -> str:
    """Returns the last line of a failure that is told as it should be."""
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: "), done.stderr
    return line


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A work directory as training leaves it, with an untrained student."""
    folder = tmp_path_factory.mktemp("run")
    values = {"dataset": DATASET, "image_size": 64, "workdir": str(folder), "data_dir": str(folder / "data")}
    (folder / "flags.cfg").write_text(as_flagfile(from_values(values)))
    names = DATASETS.build(DATASET, on_bad_example="fail", data_dir=str(folder / "data")).class_names
    student = harness.shake(DETECTORS.build("tiny(size='student')", image_size=64, class_names=names))
    save_detector(student, folder / "student" / "best.keras")
    return folder


@pytest.mark.slow
def test_exports_evaluates_and_predicts(workdir, tmp_path):
    done = run(f"--workdir={workdir}", "--quantization=float32,int8", "--calibration_pictures=4")
    assert done.returncode == 0, done.stderr
    assert "student_float32.tflite" in done.stdout and "student_int8.tflite" in done.stdout
    manifest = json.loads((workdir / "export/manifest.json").read_text())
    assert len(manifest["files"]["student_int8.tflite"]["calibration"]) == 4
    assert manifest["files"]["student_int8.tflite"]["flags"]["seed"] == 0
    file = workdir / "export/student_int8.tflite"
    measured = run(
        f"--workdir={workdir}", f"--model={file}", f"--output={tmp_path / 'm.json'}", module="mkd_tf.evaluate"
    )
    assert measured.returncode == 0, measured.stderr
    recorded = json.loads((workdir / "results.json").read_text())["files"]["student_int8.tflite"]
    assert json.loads((tmp_path / "m.json").read_text())["AP"] == pytest.approx(recorded["AP"])


def test_mistakes_are_told(workdir, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "flags.cfg").write_text((workdir / "flags.cfg").read_text())
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    (tmp_path / "cut.tflite").write_bytes(b"TFL3" * 20)
    # A picture that predict reaches only with a model.
    Image.new("RGB", (80, 50), "teal").save(tmp_path / "a.png")
    predict = [f"--model={tmp_path}/cut.tflite", f"--input={tmp_path}/a.png", f"--output={tmp_path}/drawn"]
    empty = DATASET.replace("train=4", "train=0")
    cases = [
        (run(f"--workdir={tmp_path}"), ["flags.cfg", "Train there first"]),
        (run(f"--workdir={bare}"), ["expected a trained student", "no trained model"]),
        (run(f"--workdir={workdir}", "--role=teacher"), ["expected a trained teacher", "only student"]),
        (run(f"--workdir={workdir}", "--quantization=int4"), ["quantization", "int16x8", "'int4'"]),
        (
            run(f"--workdir={workdir}", "--quantization=float32", f"--labels={tmp_path}/labels.txt"),
            ["labels", "one per class", "got 2"],
        ),
        (
            run(f"--workdir={workdir}", f"--model={tmp_path}/cut.tflite", module="mkd_tf.evaluate"),
            ["cut.tflite", "not a readable TFLite file"],
        ),
        (run(*predict, module="mkd_tf.predict"), ["cut.tflite", "not a readable TFLite file"]),
        (run(f"--workdir={workdir}", f"--dataset={empty}"), ["train", "got 0"]),
        (run(f"--workdir={workdir}", "--calibration_pictures=0"), ["calibration_pictures", "got 0"]),
    ]
    for done, told in cases:
        line = error_of(done)
        assert all(word in line for word in told), line


def test_a_work_directory_in_use_is_left_alone(workdir):
    handle = lock(workdir)
    try:
        assert "another process" in error_of(run(f"--workdir={workdir}", "--quantization=float32"))
    finally:
        handle.close()


def test_help_shows_its_flags():
    done = run("--help")
    assert all(
        f"--{flag}" in done.stdout + done.stderr for flag in ("quantization", "postprocess", "max_ap_drop")
    )
