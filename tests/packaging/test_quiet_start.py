"""What the project's programs print when they start: their words, and none of TensorFlow's about itself."""

import json
import logging
import os
import signal
import subprocess
import sys

from mkd_tf import quiet_start
from mkd_tf.flags import PlainLines
from tests.data.sources.folder_maker import Folder
from tests.export.programs import ROOT

NOISE = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795943966.608744    9503 port.cc:153] oneDNN custom operations are on.\n"
    b"W0000 00:00:1795943966.608744    9503 a/b-c.cc:1] deprecated\n"
    b"To enable the following instructions: AVX2 FMA, rebuild TensorFlow.\n"
)
KEPT = (
    b"E0000 00:00:1.2    9503 cuda.cc:1] broken\n"
    b"F0000 00:00:1.2    9503 cpu.cc:1] needs AVX\n"
    b"I am a line\nno end"
)


def run(*command: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment = kept | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, timeout=300, check=False
    )


def test_a_program_prints_its_own_lines_alone(tmp_path):
    """With TensorFlow imported by a real process, and its errors of machines without a GPU."""
    folder = Folder(tmp_path / "set")
    for name in "abc":
        folder.image(f"{name}.jpg")
        shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 12], [30, 40]]}
        folder.text(f"{name}.json", json.dumps({"imagePath": f"{name}.jpg", "shapes": [shape]}))
    folder.text("other.json", "{}")
    flags = (f"--dataset={folder.root}", f"--output={tmp_path / 'report'}", "--copies=false")
    done = run("-m", "mkd_tf.inspect_data", *flags)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "No lists of splits: split by seed 0 into train 1, validation 1, test 1",
        f"warning: labelme {folder.root}: read, with notices:",
        "  unused: .: JSON files that are not of labelme are not read (other.json)",
        "dataset: labelme, 1 class, train 1 / validation 1 / test 1, from 4 JSON files",
    ]


def test_the_filter_passes_all_else_and_outlives_a_crash():
    script = (
        "import os, runpy, sys\n"
        f"with runpy.run_path({quiet_start.__file__!r})['filtered_stderr']():\n"
        f"    os.write(2, {NOISE + KEPT!r})\n"
        "    if len(sys.argv) > 1: os.abort()\n"
        "os.write(2, b'I0000 00:00:1.2 1 a.cc:1] after')\n"
    )
    done = run("-c", script)
    assert (done.returncode, done.stderr) == (0, KEPT + b"I0000 00:00:1.2 1 a.cc:1] after")
    done = run("-c", script, "crash")
    assert (done.returncode, done.stderr[: len(KEPT)]) == (-signal.SIGABRT, KEPT)


def test_a_lower_level_of_the_user_counts(monkeypatch):
    before = list(sys.meta_path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    quiet_start.quiet_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0" and sys.meta_path == before


def test_user_code_is_left_alone():
    """`import mkd_tf`, which every test does, installs nothing."""
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == quiet_start.__name__]


def test_log_lines():
    def line(name: str, level: int, text: str) -> str:
        return PlainLines().format(logging.LogRecord(name, level, "f.py", 1, text, ("x",), None))

    assert line("mkd_tf.data", logging.INFO, "dataset: %s") == "dataset: x"
    assert line("mkd_tf.data", logging.WARNING, "left out %s") == "warning: left out x"
    assert line("absl", logging.ERROR, "no %s") == "error: absl: no x"
    assert line("mkd_tfx", logging.INFO, "read %s") == "mkd_tfx: read x"
