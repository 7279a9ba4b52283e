"""The benchmark as users call and miscall it."""

import functools
import json

import pytest

from tests.conversion import made
from tests.export import programs
from tests.export.programs import error_of

run = functools.partial(programs.run, module="mkd_tf.benchmark")


@pytest.mark.slow
def test_times_files_and_writes_json(tmp_path):
    files = {form: tmp_path / f"{form}.tflite" for form in ("float32", "int8")}
    for form, path in files.items():
        path.write_bytes(made.file(form))
    models = ",".join(str(path) for path in files.values())
    done = run(f"--models={models}", "--runs=5", f"--output={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    assert "5 calls of each in turns, threads: 1" in done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written["models"]) == [str(path) for path in files.values()]
    assert written["models"][str(files["float32"])]["speed"] == 1.0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], ["--models", "nothing"]),
        (["--models=no.tflite"], ["no.tflite", "no such file"]),
        (["--models=no.onnx", "--suite=latency"], ["end in .tflite", "no.onnx"]),
        (["--models=setup.cfg"], ["setup.cfg", ".tflite, .onnx, .cc", "export"]),
    ],
)
def test_tells_what_is_wrong(flags, told):
    line = error_of(run(*flags))
    assert all(word in line for word in told), line
