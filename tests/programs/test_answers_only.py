"""Training with a teacher that only answers: a run killed and resumed, and mistakes seen before training."""

import json
import subprocess
from pathlib import Path

import pytest

from mkd_tf.config import DataConfig
from mkd_tf.data import open_dataset
from mkd_tf.detection.postprocess import Detections
from tests.export import programs
from tests.programs.killing import FLAGS, NET, check_equal_runs, kill_in, train
from tests.training.coco_predictions import jittered, write_predictions

DATA = FLAGS[0].removeprefix("--dataset=")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Predictions close to the truth of all images; returns the folder, the elements and the classes."""
    folder = tmp_path_factory.mktemp("answers")
    dataset = open_dataset(DataConfig(dataset=DATA, data_dir=str(folder / "data")))
    splits = [dataset.split(name) for name in dataset.split_names]
    elements = [split[i] for split in splits for i in range(len(split))]
    return folder, elements, dataset.class_names


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_and_resumed_equals_uninterrupted(written, tmp_path):
    folder, elements, names = written
    spec = write_predictions(tmp_path, elements, jittered(elements, len(names)), names)
    flags = (
        f"--teacher={spec}",
        "--guide=none",
        "--student_epochs=3",
        "--teacher_thresholds=per_class",
        "--strategies=soft_classes, soft_boxes, attention_map",
        f"--data_dir={folder / 'data'}",
    )
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    printed = train(whole, *flags)
    assert "student: off are attention_map, which need a source with features" in printed
    assert "answers for 36 of 36 training images" in printed
    assert "good enough to teach" in printed
    assert "the teacher's labels: " in printed
    kill_in("student", torn, *flags)
    # An answer that is missing is asked for again.
    next((torn / "teacher" / "answers").glob("*.npz")).unlink()
    train(torn, *flags)
    check_equal_runs(whole, torn, ("student",))
    results = json.loads((whole / "results.json").read_text())
    assert list(results["roles"]) == ["student"]
    assert results["roles"]["student"]["beyond_teacher"]["objects"] > 0
    assert results["teacher_gate"]["verdict"] == "good"
    assert results["teacher_gate"]["test_AP"] > 50
    rows = (whole / "student" / "history.csv").read_text().splitlines()
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(first["soft_classes"]) > 0
    assert float(first["soft_boxes"]) > 0
    assert "attention_map" not in first
    assert (whole / "examples.png").exists()


def failed(workdir: Path, *flags: str) -> str:
    done: subprocess.CompletedProcess = programs.run(
        *FLAGS, *flags, f"--workdir={workdir}", module="mkd_tf.train", timeout=300
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert not list(workdir.glob("*/history.csv")), "it had begun to train"
    return done.stderr.strip().splitlines()[-1]


def test_a_class_map_needs_a_teacher_with_other_classes(written, tmp_path):
    told = failed(tmp_path / "run", f"--data_dir={written[0] / 'data'}", "--class_map=car=square")
    assert "class_map: expected a teacher among detections, onnx" in told


def test_swapped_classes_fail_at_the_gate(written, tmp_path):
    folder, elements, names = written
    found = [
        Detections(d.boxes, d.scores, (d.labels + 1) % len(names)) for d in jittered(elements, len(names))
    ]
    spec = write_predictions(tmp_path, elements, found, names)
    flags = (f"--teacher={spec}", "--guide=none", f"--data_dir={folder / 'data'}", "--teacher_gate=fail")
    told = failed(tmp_path / "run", *flags)
    assert "teacher gate of predictions: expected a best F1 of 0.25 or more" in told
    assert "its boxes lie on objects, but under other names (what it calls " in told
    # The file may be mended: the work directory is not tied to it, nor to what was measured of it.
    assert not (tmp_path / "run" / "teacher" / "teacher.sha256").exists()
    assert not (tmp_path / "run" / "results.json").exists()


def test_predictions_of_other_images_teach_nothing(written, tmp_path):
    folder, elements, names = written
    others = [each | {"image/id": f"other_{i}"} for i, each in enumerate(elements)]
    spec = write_predictions(tmp_path, others, jittered(elements, len(names)), names)
    told = failed(tmp_path / "run", f"--teacher={spec}", f"--student={NET}", f"--data_dir={folder / 'data'}")
    assert "expected answers for images of this data set, got none for any of 36 training images" in told
