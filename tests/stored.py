"""Every kind of file that a program reads back: one that is whole, and what reads it.

`tests/test_stored_files.py` damages each of them in the same ways.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mkd_tf import config as configuration
from mkd_tf import schemas
from mkd_tf.data.image_files import read_image, scan_image
from mkd_tf.deployment.manifest import read_manifest
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.evaluation.results import read_results
from mkd_tf.experiments.grid import Job
from mkd_tf.experiments.matches import Matches
from mkd_tf.experiments.pool import check_identity, is_done
from mkd_tf.experiments.spec import flagfile_values, read_experiment
from mkd_tf.schemas.deployment import ManifestFile
from mkd_tf.schemas.inspection import AdviceFile
from mkd_tf.schemas.training import DetectionsFile, ResultsFile
from mkd_tf.teachers import TEACHERS, TeacherImage
from mkd_tf.training import answering
from mkd_tf.training.backup import load_backup, save_backup
from mkd_tf.training.compression_stage import mean_the_same
from mkd_tf.training.finished import read_done, write_done
from mkd_tf.training.harm import validations
from mkd_tf.training.teacher_boxes import read_rows, write_rows
from mkd_tf.training.workdir import check_images, claim, claim_stage, compare
from tests.records import ADVICE, FILE, FOUND, ROLE, STATE

SMALL = "tiny(widths=(4, 4, 4, 4), pyramid=4, tower=0, block='plain')"
STAGE: Any = {"method": "qat", "start": "student", "epochs": 3, "strategies": "", "learning_rate": 0.001}
EXPERIMENT = """
seeds = [0, 1]
control = "a"
flags = {baseline = true}
[datasets]
shapes = "shapes(train=4)"
[networks]
tiny = "tiny"
[arms.a]
[arms.b]
strategies = "soft_classes, hint(weight={w})"
sweep = {w = [0.1, 1], beta = [1.0, 2.0]}
[rule]
margin = 0.5
"""
JOB = Job("cells/a", {"seed": "0", "beta": "1.0"})


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: `write` makes a whole one in a folder and returns its path, `read` reads it there.

    `told` is what is said of an empty one, "" where it is passed over; `is_hashed`, whether every
    change of its content is noticed; `is_json`, whether it has a version.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    told: str
    is_hashed: bool = False
    is_json: bool = False


def _config(folder: Path) -> Any:
    return configuration.from_values({"workdir": str(folder)})


def _written(folder: Path, name: str, content: Any, record: Any) -> Path:
    schemas.write(folder / name, content, record)
    return folder / name


def _as_json(name: str, content: Any, record: Any, told: str) -> Kind:
    def read(path: Path) -> Any:
        return schemas.read(path, record)

    return Kind(lambda folder: _written(folder, name, content, record), read, told, is_json=True)


def _done(folder: Path) -> Path:
    (folder / "best.keras").write_bytes(b"weights")
    write_done(folder, ROLE)
    return folder / "done.json"


def _weights(folder: Path) -> Path:
    _done(folder)
    return folder / "best.keras"


def _stage(folder: Path) -> Path:
    claim_stage(folder, STAGE, mean_the_same)
    return folder / "stage.json"


def _backup(file: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        arrays = {"student/0": np.arange(24, dtype="float32").reshape(4, 6), "student/1": np.int64(7)}
        for epoch in (1, 2):
            found = save_backup(folder, epoch, arrays, STATE | {"epoch": epoch, "rows": [{"total": 0.5}]})
        return found / file

    return write


def _read_backup(path: Path) -> Any:
    # Alone: with an earlier one it would be passed over, as a run does.
    for other in path.parent.parent.glob("epoch_*"):
        if other != path.parent:
            for file in other.iterdir():
                file.unlink()
            other.rmdir()
    return load_backup(path.parent.parent)


def _detections() -> Detections:
    return Detections(np.float32([[0, 0, 1, 1]]), np.float32([0.5]), np.int32([1]))


def _boxes(folder: Path) -> Path:
    write_rows(folder / "boxes.npz", np.array([3, 5]), [_detections(), _detections()])
    return folder / "boxes.npz"


def _answers(folder: Path) -> Path:
    answering._write(folder / "answers.npz", [_detections(), None])
    return folder / "answers.npz"


def _matches(folder: Path) -> Path:
    flags = np.zeros((2, 10), bool)
    made = Matches(np.int32([0, 1]), np.int32([0, 0]), np.float32([1, 0]), flags, flags, np.int32([[1], [0]]))
    made.save(folder / "matches.npz")
    return folder / "matches.npz"


def _read_answers(path: Path) -> Any:
    return [found and dataclasses.astuple(found) for found in answering._read(path)]


def _read_hashes(path: Path) -> None:
    check_images(path.parent, "ab" * 32, "cd" * 32)


def _read_teacher(path: Path) -> Any:
    return TEACHERS["detections"](str(path), classes={3: "cat"}, on_bad_rows="skip").notes()


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def _flags(folder: Path) -> Path:
    return claim(_config(folder)) / "flags.cfg"


def _hashes(folder: Path) -> Path:
    check_images(folder, "ab" * 32, "cd" * 32)
    return folder / "images.sha256"


def _job(folder: Path) -> Path:
    check_identity(folder, JOB)
    return folder / JOB.name / "job.json"


def _read_job(path: Path) -> Any:
    root = path.parent.parent.parent
    return is_done(root, JOB), check_identity(root, JOB)


def _results(folder: Path) -> Path:
    content: Any = {"roles": {"student": ROLE}, "files": {}}
    return _written(folder, "results.json", content, ResultsFile)


def _manifest(folder: Path) -> Path:
    content: Any = {"labels": ["cat"], "files": {"student_int8.tflite": FILE}}
    return _written(folder, "manifest.json", content, ManifestFile)


def _teacher(folder: Path) -> Path:
    rows = [{"image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30], "score": 0.9}]
    (folder / "predictions.json").write_text(json.dumps(rows))
    return folder / "predictions.json"


def _listing(folder: Path) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": 50, "height": 40}]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "categories": [{"id": 3, "name": "cat"}]})
    )
    return folder / "instances.json"


def _read_listing(path: Path) -> Any:
    predictions = path.with_name("predictions.json")
    if not predictions.exists():
        _teacher(path.parent)
    teacher = TEACHERS["detections"](str(predictions), images=str(path), on_bad_rows="skip")
    return len(teacher.detect([TeacherImage("a.jpg", "a.jpg", (40, 50), lambda: np.zeros(0))]))


def _image(form: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pixels = np.arange(24 * 32 * 3, dtype="uint8").reshape(24, 32, 3)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form, **options)
        (folder / f"a.{form.lower()}").write_bytes(stream.getvalue())
        return folder / f"a.{form.lower()}"

    return write


def _read_image(path: Path) -> Any:
    return scan_image(path), read_image(path)


def _detector(folder: Path) -> Path:
    save_detector(DETECTORS.build(SMALL, image_size=32, class_names=("a", "b")), folder / "a.keras")
    return folder / "a.keras"


_AGAIN = "expected JSON, got a damaged file .*"
_IMAGE = "expected an image, got 0 bytes in no format"
KINDS: dict[str, Kind] = {
    "results.json": Kind(_results, read_results, f"{_AGAIN} Restore it or measure again", is_json=True),
    "done.json": Kind(
        _done, lambda p: read_done(p.parent), f"{_AGAIN} Delete it to finish this stage again", is_json=True
    ),
    "best.keras of a finished stage": Kind(
        _weights, lambda p: read_done(p.parent), "expected the file that this stage left", is_hashed=True
    ),
    "stage.json": Kind(
        _stage,
        lambda p: claim_stage(p.parent, STAGE, mean_the_same),
        f"{_AGAIN} Delete its folder",
        is_json=True,
    ),
    "state.json": Kind(_backup("state.json"), _read_backup, "damaged backup .* Delete", True, True),
    "arrays.npz": Kind(_backup("arrays.npz"), _read_backup, "damaged backup .* Delete", True),
    "SHA256SUMS": Kind(_backup("SHA256SUMS"), _read_backup, "damaged backup .* Delete", True),
    "boxes.npz": Kind(_boxes, read_rows, "damaged boxes of the teacher", True),
    "answers": Kind(_answers, _read_answers, "damaged answers", True),
    "flags.cfg": Kind(_flags, lambda p: compare(_config(p.parent)), "damaged file. Delete it to go on"),
    "images.sha256": Kind(_hashes, _read_hashes, "damaged file. Delete it if the data set"),
    "history.csv": Kind(_text("history.csv", "epoch,total,val_AP\n1,0.5,\n2,0.4,12.5\n"), validations, ""),
    "advice.json": _as_json("advice.json", ADVICE, AdviceFile, f"{_AGAIN} Begin in another work directory"),
    "manifest.json": Kind(
        _manifest, lambda p: read_manifest(p.parent), f"{_AGAIN} Delete it and export again", is_json=True
    ),
    "detections.json": _as_json("detections.json", FOUND, DetectionsFile, f"{_AGAIN} Predict again"),
    "job.json": Kind(_job, _read_job, "damaged file .* Delete it, if the flags"),
    "matches.npz": Kind(_matches, Matches.load, "damaged matches .* Delete it to measure", True),
    "experiment.toml": Kind(_text("experiment.toml", EXPERIMENT), read_experiment, "Field required"),
    "a flagfile": Kind(_text("a.cfg", "# One.\n--beta=2.0\n--nobaseline\n"), flagfile_values, ""),
    "a teacher's predictions": Kind(_teacher, _read_teacher, "expected COCO results: a list"),
    "a list of images": Kind(_listing, _read_listing, "instances.json"),
    "a JPEG": Kind(_image("JPEG"), _read_image, _IMAGE),
    "a PNG": Kind(_image("PNG"), _read_image, _IMAGE),
    "a WebP": Kind(_image("WEBP"), _read_image, _IMAGE),
    "a TIFF": Kind(_image("TIFF", compression="tiff_lzw"), _read_image, _IMAGE),
    "a GIF": Kind(_image("GIF"), _read_image, _IMAGE),
    "a BMP": Kind(_image("BMP"), _read_image, _IMAGE),
    "a .keras file": Kind(_detector, load_detector, "not a readable .keras file", True),
}
"""By name."""
