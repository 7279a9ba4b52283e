"""Other people's runtimes, each in an environment of its own, and what they find beside what we find.

They cannot share an environment with ours: they want other versions of absl, NumPy or Python. Each has
a folder in the checkout, which a target of the Makefile makes, and a variable that names another
interpreter; where the variable is set, as `.ci/run` does, a missing one is a failure.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


def python_of(variable: str, folder: str, target: str) -> Path:
    """The interpreter of an environment; a test without it is skipped."""
    named = os.environ.get(variable)
    path = Path(named or ROOT / folder / "bin/python")
    # The stamp is there when the packages are.
    if not (path if named else ROOT / folder / "installed").is_file():
        assert not named, f"{variable}: no such file as {path}"
        pytest.skip(f"no Python at {path}: `make {target}`, or set {variable}")
    return path


def detect(python, program, tmp_path, images, files):
    """What `program` prints in that Python: a JSON array for each file and image, by file name."""
    np.save(tmp_path / "images.npy", images)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    child = subprocess.run(
        [python, "-c", program, tmp_path / "images.npy", *(tmp_path / name for name in files)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("[")]
    count = len(images)
    assert len(lines) == count * len(files)
    return {name: lines[i * count : (i + 1) * count] for i, name in enumerate(files)}


def iou(a, b):
    """IoU of two boxes (ymin, xmin, ymax, xmax)."""
    inside = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(inside, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def unmatched(rows, others, tolerance):
    """Those of `rows` that none of `others` equals: label, score within `tolerance`, IoU of 0.9.

    Boxes are whole pixels, which one cuts and another rounds: edges a pixel apart are equal too.
    """

    def same(a, b):
        near = a[0] == b[0] and abs(a[1] - b[1]) <= tolerance
        boxes = np.array(a[2:], float), np.array(b[2:], float)
        return near and (iou(*boxes) >= 0.9 or np.abs(boxes[0] - boxes[1]).max() <= 1)

    return [a for a in rows if not any(same(a, b) for b in others)]


def told(runner, image, least, is_clipped):
    """Our detections from `least` up as clients tell them: corner and size cut to whole pixels."""
    outputs, side, rows = runner.invoke(image), runner.image_size, []
    for box, label, score in zip(*(outputs[f"output_{i}"][0] for i in (3, 2, 1)), strict=True):
        if score >= least:
            corner, size = np.trunc(np.array([box[:2], box[2:] - box[:2]]) * side)
            if is_clipped:
                corner, size = np.clip([corner, size], 0, side)
            rows.append([runner.class_names[int(label)], float(score), *corner, *(corner + size)])
    return rows


def assert_same(answers, runner, images, tolerance, is_clipped=True):
    """What scores 0.3 and more is found by both; returns how many detections that are.

    What scores about 0.3 may be shown by one and not by the other.
    """
    total = 0
    for found, image in zip(answers, images, strict=True):
        theirs = [[n, score, y, x, y + height, x + width] for n, score, y, x, height, width in found]
        ours = told(runner, image, 0.3 - tolerance, is_clipped)
        assert unmatched(theirs, ours, tolerance) == []
        sure = [row for row in ours if row[1] >= 0.3 + tolerance]
        assert unmatched(sure, theirs, tolerance) == []
        total += len(theirs)
    return total
