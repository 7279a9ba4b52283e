"""An export that is stopped while it converts leaves what was there before."""

import os
import signal
import subprocess
import sys

import pytest

from mkd_tf.training.workdir import lock
from tests.export.programs import ROOT, run, untrained

DATASET = "shapes(train=40, validation=3, test=3, unlabelled=0, size=64)"
# The program itself, which says when it is in the middle of calibration and then takes its time.
_PROGRAM = """
import signal, sys, time
from mkd_tf import export
from mkd_tf.conversion.tflite import convert as conversion
from mkd_tf.conversion.tflite.format import TFLite

convert = conversion.to_tflite

def slow(*arguments, on_progress, **options):
    def told(done, total):
        on_progress(done, total)
        if done == 4:
            print("converting", flush=True)
            time.sleep(60)
    return convert(*arguments, on_progress=told, **options)

conversion.to_tflite = slow
# A shell's background jobs, and what they start, ignore an interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
export.front_door(TFLite, "")
"""


def flags(workdir):
    return [f"--workdir={workdir}", "--quantization=int8", "--calibration_images=16", "--max_ap_drop=100"]


def interrupt(workdir, how):
    """Starts an export and stops it in the middle of its conversion; returns its end."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *flags(workdir)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        process.send_signal(how)
        _, told = process.communicate(timeout=100)
    assert line == "converting\n", told
    return process.returncode, told


def contents(folder):
    """Every file below `folder` but the lock, which is empty."""
    return {
        p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    }


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A work directory with an untrained student and an export of it."""
    folder = untrained(tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("data"), DATASET)
    done = run(*flags(folder), module="export.tflite")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_what_was_there_stays(workdir):
    earlier = contents(workdir)
    names = {str(p) for p in earlier}
    assert {"export/student_int8.tflite", "export/manifest.json", "export/labels.txt"} < names
    assert "results.json" in names
    code, told = interrupt(workdir, signal.SIGINT)
    assert code == 130 and "Traceback" not in told
    assert told.strip().splitlines()[-1] == "interrupted; earlier files are untouched"
    assert contents(workdir) == earlier
    code, _ = interrupt(workdir, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert contents(workdir) == earlier
    # Nor is the directory locked against the next export.
    lock(workdir).close()
