"""Class names of other scripts from the labels to every file of a run and back."""

import functools
import json

import pytest

from mkd_tf.conversion.model_files import load_runner
from tests.data.sources.folder_maker import Folder
from tests.export import programs
from tests.export.programs import untrained

NAMES = ("кот", "قطة", "猫 é", "👩‍🚒")
"""Cyrillic, Arabic, Chinese with a composed letter, and an emoji of several; in their order."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A work directory with an exported student of these classes, and the images it was made for."""
    root = tmp_path_factory.mktemp("скрипты 文字")
    folder = Folder(root / "набор")
    for number in range(6):
        folder.image(f"{number}.jpg")
        shapes = [
            {"label": name, "shape_type": "rectangle", "points": [[2 + 15 * i, 8], [14 + 15 * i, 40]]}
            for i, name in enumerate(NAMES)
        ]
        folder.text(f"{number}.json", json.dumps({"imagePath": f"{number}.jpg", "shapes": shapes}))
    (root / "run").mkdir()
    workdir = untrained(root / "run", dataset=f"labelme(path='{folder.root}')")
    done = programs.run(f"--workdir={workdir}", "--quantization=float32", module="export.tflite")
    assert done.returncode == 0, done.stderr
    return workdir, folder.root


@pytest.mark.slow
def test_names_survive_in_every_file(made, tmp_path):
    workdir, images = made
    run = functools.partial(programs.run, PYTHONIOENCODING="utf-8")
    text = (workdir / "export/manifest.json").read_text("utf-8")
    manifest = json.loads(text)
    file = workdir / "export/student_float32.tflite"
    assert all(name in text for name in NAMES)  # as letters, not as \\u escapes
    assert tuple((workdir / "export/labels.txt").read_text("utf-8").splitlines()) == NAMES
    assert tuple(load_runner(str(file)).class_names) == NAMES
    assert file.name in manifest["files"]

    done = run(
        f"--model={file}",
        f"--input={images}",
        f"--output={tmp_path / 'coco'}",
        "--format=coco",
        "--score_threshold=0",
        module="mkd_tf.predict",
    )
    assert done.returncode == 0, done.stderr
    found = "".join(path.read_text("utf-8") for path in (tmp_path / "coco").rglob("*.json"))
    assert all(name in found for name in NAMES)
