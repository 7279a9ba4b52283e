"""The diagnosis program as users call and miscall it."""

import csv
import functools
import json

import pytest

from mkd_tf.conversion.tflite.runner import TFLiteRunner
from tests.export import programs
from tests.export.programs import error_of, untrained

run = functools.partial(programs.run, module="export.diagnose")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("run"))


@pytest.mark.slow
def test_diagnoses_and_exports_with_the_worst_in_float(workdir):
    pytest.importorskip("ai_edge_quantizer")
    done = run(
        f"--workdir={workdir}",
        "--images=2",
        "--calibration_images=4",
        "--precise_layers=2",
        "--precision=float",
        "--max_ap_drop=100",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((workdir / "export/diagnosis.json").read_text())
    assert found["split"] == "validation" and found["images"] == 2 == len(found["image_ids"])
    names = [layer["layer"] for layer in found["layers"]]
    assert names[0] in done.stdout and "student_selective.tflite" in done.stdout
    with (workdir / "export/diagnosis.csv").open() as file:
        assert [row["layer"] for row in csv.DictReader(file)] == names
    assert (workdir / "export/diagnosis.png").read_bytes().startswith(b"\x89PNG")
    entry = json.loads((workdir / "export/manifest.json").read_text())["files"]["student_selective.tflite"]
    assert entry["layers"] == [name for name in names if name != "input"][:2]
    assert entry["precision"] == "float" and "ai-edge-quantizer" in entry["versions"]
    assert "parity" in entry and len(entry["calibration"]) == 4
    results = json.loads((workdir / "results.json").read_text())["files"]
    assert results["student_selective.tflite"]["AP"] == entry["AP"]
    assert TFLiteRunner(workdir / "export/student_selective.tflite").image_size == 64


def test_mistakes_are_told(workdir, tmp_path):
    cases = [
        (run(f"--workdir={tmp_path}"), ["flags.cfg", "Train there first"]),
        (run(f"--workdir={workdir}", "--precision=int4"), ["precision", "int16, float", "'int4'"]),
        (run(f"--workdir={workdir}", "--precise_layers=-1"), ["precise_layers", "0 or more"]),
    ]
    for done, told in cases:
        line = error_of(done)
        assert all(word in line for word in told), line
