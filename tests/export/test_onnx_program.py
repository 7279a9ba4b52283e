"""The ONNX export program as users call and miscall it."""

import functools
import json

import onnx
import pytest
from PIL import Image

from tests.export import programs
from tests.export.programs import error_of, untrained

run = functools.partial(programs.run, module="export.onnx")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_exports_evaluates_and_predicts(workdir, tmp_path):
    done = run(f"--workdir={workdir}", "--quantization=float32,int8", "--calibration_images=4", "--opset=14")
    assert done.returncode == 0, done.stderr
    assert "student_float32.onnx" in done.stdout and "student_int8.onnx" in done.stdout
    manifest = json.loads((workdir / "export/manifest.json").read_text())["files"]
    assert len(manifest["student_int8.onnx"]["calibration"]) == 4
    for name in ("student_float32.onnx", "student_int8.onnx"):
        assert manifest[name]["flags"]["opset"] == 14
        sets = onnx.load(workdir / "export" / name).opset_import
        assert {e.domain: e.version for e in sets}[""] == 14
    file = workdir / "export/student_int8.onnx"
    measured = run(
        f"--workdir={workdir}", f"--model={file}", f"--output={tmp_path / 'm.json'}", module="mkd_tf.evaluate"
    )
    assert measured.returncode == 0, measured.stderr
    recorded = json.loads((workdir / "results.json").read_text())["files"]["student_int8.onnx"]
    assert json.loads((tmp_path / "m.json").read_text())["AP"] == pytest.approx(recorded["AP"])
    # Away from its work directory: the file alone suffices.
    (tmp_path / "alone.onnx").write_bytes(file.read_bytes())
    Image.new("RGB", (80, 50), "teal").save(tmp_path / "a.png")
    drawn = run(
        f"--model={tmp_path}/alone.onnx",
        f"--input={tmp_path}/a.png",
        f"--output={tmp_path}/drawn",
        module="mkd_tf.predict",
    )
    assert drawn.returncode == 0, drawn.stderr
    names = json.loads((tmp_path / "drawn/detections.json").read_text())["class_names"]
    assert names == (workdir / "export/labels.txt").read_text().splitlines()


def test_mistakes_are_told(workdir, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "flags.cfg").write_text((workdir / "flags.cfg").read_text())
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08" * 20)
    # A package of this name that cannot be imported stands for none.
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not installed')\n")
    cases = [
        (run(f"--workdir={bare}"), ["expected a trained student", "no trained model"]),
        (run(f"--workdir={workdir}", "--opset=12"), ["opset", "13, 14, 15, 16, 17, 18", "got 12"]),
        (
            run(f"--workdir={workdir}", PYTHONPATH=str(tmp_path)),
            ["expected the package onnxruntime", "pip install mkd_tf[onnx]"],
        ),
        (
            run(f"--workdir={workdir}", f"--model={tmp_path}/cut.onnx", module="mkd_tf.evaluate"),
            ["cut.onnx", "not a readable ONNX file"],
        ),
    ]
    for done, told in cases:
        line = error_of(done)
        assert all(word in line for word in told), line


def test_help_shows_its_flags():
    done = run("--help")
    told = done.stdout + done.stderr
    assert all(flag in told for flag in ("--opset", "dynamic_batch", "--max_ap_drop"))
