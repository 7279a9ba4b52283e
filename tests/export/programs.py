"""What the tests of programs share: calls of one, its errors, and a work directory to export from."""

import subprocess
from pathlib import Path

from mkd_tf.config import from_values
from mkd_tf.data import DATASETS
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import save_detector
from mkd_tf.training.workdir import as_flagfile
from tests import harness, zygote

ROOT = Path(__file__).resolve().parents[2]
DATASET = "shapes(train=4, validation=3, test=3, unlabelled=0, size=64)"


def run(*flags: str, module: str, timeout: int = 400, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python -m module *flags` in a process of its own."""
    return zygote.run(module, flags, timeout, **environment)


def error_of(done: subprocess.CompletedProcess) -> str:
    """Returns the last line of a failure that is told as it should be."""
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: "), done.stderr
    return line


def untrained(folder: Path, data: Path | None = None, dataset: str = DATASET) -> Path:
    """Makes `folder` a work directory as training leaves it, with an untrained student; returns it."""
    data = data or folder / "data"
    values = {"dataset": dataset, "image_size": 64, "workdir": str(folder), "data_dir": str(data)}
    (folder / "flags.cfg").write_text(as_flagfile(from_values(values)))
    names = DATASETS.build(dataset, on_bad_example="fail", data_dir=str(data)).class_names
    student = harness.shake(DETECTORS.build("tiny(size='student')", image_size=64, class_names=names))
    save_detector(student, folder / "student" / "best.keras")
    return folder
