"""The export program as users call and miscall it."""

import functools
import json

import pytest
from PIL import Image

from mkd_tf.training.workdir import lock
from tests.export import programs
from tests.export.programs import DATASET, error_of, untrained

run = functools.partial(programs.run, module="export.tflite")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_exports_evaluates_and_predicts(workdir, tmp_path):
    done = run(f"--workdir={workdir}", "--quantization=float32,int8", "--calibration_images=4")
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
    # The file says what it is, and has the AP of its own thresholds.
    assert "mkd_tf " in measured.stdout and "suppression inside: scores from" in measured.stdout
    shipped = manifest["files"]["student_int8.tflite"]["shipped"]
    assert json.loads((tmp_path / "m.json").read_text())["AP"] == pytest.approx(shipped["AP"])
    # Alone, far from manifest and run, it says the same; for a figure it wants images.
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(file.read_bytes())
    told = run(f"--workdir={tmp_path}", f"--model={alone}", module="mkd_tf.evaluate")
    assert "expected a data set, got none" in error_of(told)
    source = manifest["files"]["student_int8.tflite"]["source"]["sha256"]
    assert f"source {source[:12]}, fit stretch" in told.stdout and "labels square, " in told.stdout
    facts = measured.stdout[: measured.stdout.index("labels ")]
    assert facts.startswith("mkd_tf ") and facts in told.stdout


def test_mistakes_are_told(workdir, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "flags.cfg").write_text((workdir / "flags.cfg").read_text())
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    (tmp_path / "cut.tflite").write_bytes(b"TFL3" * 20)
    # An image that predict reaches only with a model.
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
        (run(f"--workdir={workdir}", "--calibration_images=0"), ["calibration_images", "got 0"]),
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
