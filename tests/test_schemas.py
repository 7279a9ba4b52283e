"""Files are read and written by their record: what is wrong is told by file, field and remedy."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.schemas import deployment, inspection, training
from mkd_tf.schemas.deployment import DiagnosisFile, ManifestFile
from mkd_tf.schemas.training import DetectionsFile, DoneFile, ResultsFile, StageFile, StateFile
from tests.records import MEASURED, ORIGIN, ROLE, STATE

STAGE = {"method": "qat", "start": "student", "epochs": 3, "strategies": "", "learning_rate": 0.001}
IMAGE = {
    "file": "a.jpg",
    "drawn": "a.png",
    "height": 4,
    "width": 5,
    "detections": [{"label": "cat", "score": 0.5, "box": [0.0, 0.0, 4.0, 5.0]}],
}


def stored(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_file_has_a_record():
    records = {
        record
        for module in (training, deployment, inspection)
        for name, record in vars(module).items()
        if name.endswith("File") and name not in ("File", "ExportedFile")
    }
    assert records == set(schemas.FILES)
    for record in records:
        assert "schema" in TypeAdapter(record).json_schema()["properties"]


def test_what_is_written_is_read_with_its_version(tmp_path):
    rows = [{"epoch": np.int64(1), "total": np.float32(0.5), "val_AP": None}]
    schemas.write(tmp_path / "state.json", STATE | {"rows": rows}, StateFile)
    plain = STATE | {"rows": [{"epoch": 1, "total": 0.5, "val_AP": None}]}
    assert json.loads((tmp_path / "state.json").read_text()) == {"schema": 1} | plain
    assert schemas.read(tmp_path / "state.json", StateFile) == {"schema": 1} | plain


@pytest.mark.parametrize(("content", "record"), [(ROLE, DoneFile), (STATE, StateFile), (STAGE, StageFile)])
def test_files_of_earlier_runs_had_no_version(tmp_path, content, record):
    assert schemas.read(stored(tmp_path / "a.json", content), record) == {"schema": 1} | content


def test_files_of_earlier_runs_called_images_pictures(tmp_path):
    found = {"schema": 1, "class_names": ["cat"], "score_threshold": 0.3, "failed": []}
    path = stored(tmp_path / "detections.json", found | {"pictures": [IMAGE]})
    assert schemas.read(path, DetectionsFile) == found | {"images": [IMAGE]}
    diagnosis = ORIGIN | {"schema": 1, "split": "train", "total": {}, "predicted": {}, "layers": []}
    path = stored(tmp_path / "diagnosis.json", diagnosis | {"pictures": 2, "picture_ids": ["a", "b"]})
    assert schemas.read(path, DiagnosisFile)["image_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"epochs": 1.0}, "epochs: expected a valid integer, got 1.0"),
        ({"epochs": True}, "epochs: expected a valid integer, got True"),
        ({"epochs": -1}, "epochs: expected a number greater than or equal to 0, got -1"),
        ({"learning_rate": "0.1"}, "learning_rate: expected a valid number, got '0.1'"),
        ({"learning_rate": None}, "learning_rate: expected a valid number, got None"),
        ({"method": 3}, "method: expected a valid string, got 3"),
        ({"method": 3, "start": None, "epochs": 3}, "method: expected a valid string, got 3"),
    ],
)
def test_a_wrong_value_is_told_by_both(tmp_path, changed, told):
    path = stored(tmp_path / "stage.json", STAGE | changed)
    with pytest.raises(MkdError) as error:
        schemas.read(path, StageFile)
    assert str(error.value) == f"{path}: {told}. Delete its folder to begin again."
    with pytest.raises(MkdError) as error:
        schemas.write(tmp_path / "new.json", STAGE | changed, StageFile)
    assert str(error.value).startswith(f"{tmp_path / 'new.json'}: {told}. ")
    assert not (tmp_path / "new.json").exists()


def test_a_missing_key_is_told_after_wrong_values(tmp_path):
    content = {name: value for name, value in STAGE.items() if name != "method"}
    with pytest.raises(MkdError, match="stage.json: method: expected a value, got nothing"):
        schemas.read(stored(tmp_path / "stage.json", content), StageFile)
    with pytest.raises(MkdError, match="stage.json: epochs: expected a valid integer"):
        schemas.read(stored(tmp_path / "stage.json", content | {"epochs": ""}), StageFile)


def test_a_field_deep_inside_is_told_by_its_path(tmp_path):
    manifest = {"labels": ["a"], "files": {"s.tflite": MEASURED | {"verdict": "maybe"}}}
    with pytest.raises(MkdError, match="files.s.tflite.verdict: expected 'accepted' or 'rejected', got 'may"):
        schemas.write(tmp_path / "manifest.json", manifest, ManifestFile)
    content = {
        "class_names": [],
        "score_threshold": 0.3,
        "images": [IMAGE, IMAGE | {"file": 7}],
        "failed": [],
    }
    with pytest.raises(MkdError, match=r"detections.json: images\[1\].file: expected a valid string, got 7"):
        schemas.write(tmp_path / "detections.json", content, DetectionsFile)


def test_what_json_cannot_hold_is_not_written_where_any_value_may_stand(tmp_path):
    for value in (float("nan"), {1, 2}):
        entry = MEASURED | {"sha256": "", "bytes": 1, "created": "", "labels": [], "verdict": "accepted"}
        manifest = {"labels": ["a"], "files": {"s.tflite": entry | {"flags": {"seed": value}}}}
        with pytest.raises(MkdError, match="manifest.json: expected finite numbers"):
            schemas.write(tmp_path / "manifest.json", manifest, ManifestFile)
    assert list(tmp_path.iterdir()) == []


def test_unknown_keys_are_kept_and_not_written(tmp_path):
    later = {"schema": 1, "roles": {"student": ROLE | {"watts": 3}}, "files": {}, "host": "x"}
    found = schemas.read(stored(tmp_path / "results.json", later), ResultsFile)
    assert found == later
    with pytest.raises(MkdError, match=r"results.json: roles.student.watts: expected no such key, got 3"):
        schemas.write(tmp_path / "results.json", found, ResultsFile)
    assert json.loads((tmp_path / "results.json").read_text()) == later


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"a.json: expected JSON, got a damaged file \(.*\). Delete it and export again."),
        ("", "a.json: expected JSON"),
        ("\x00\xff", "a.json: expected JSON"),
        ('{"schema": 1, "labels": [], "files": NaN}', "damaged file .NaN is not a number of JSON"),
        ("[]", "a.json: expected a manifest of schema 1, got list. Use the version of mkd_tf that wrote it"),
        ('{"labels": []}', "a.json: expected a manifest of schema 1, got None"),
        (
            '{"schema": 2}',
            "expected a manifest of schema 1, got 2. .* wrote it, or delete it and export again",
        ),
    ],
)
def test_damaged_and_other_files_are_told(tmp_path, content, told):
    with pytest.raises(MkdError, match=told):
        schemas.read(stored(tmp_path / "a.json", content), ManifestFile)


def test_files_that_are_not_there_are_told(tmp_path):
    with pytest.raises(MkdError, match="a.json: expected a manifest, got no such file. Check the path."):
        schemas.read(tmp_path / "a.json", ManifestFile)
    with pytest.raises(MkdError, match="a manifest cannot be read: Is a directory"):
        schemas.read(tmp_path, ManifestFile)


def test_a_growing_file_is_the_one_that_is_written_at_once(tmp_path):
    failed = []
    content = {"class_names": ["ü"], "score_threshold": 0.3, "images": [], "failed": failed}
    with schemas.growing(tmp_path / "a.json", content, DetectionsFile, "images") as append:
        append(IMAGE)
        append(IMAGE | {"height": np.int64(7)})
        failed.append({"file": "b.jpg", "reason": "cut"})
    whole = content | {"images": [IMAGE, IMAGE | {"height": 7}]}
    schemas.write(tmp_path / "b.json", whole, DetectionsFile)
    found, expected = (schemas.read(tmp_path / name, DetectionsFile) for name in ("a.json", "b.json"))
    assert found == expected and list(found) == list(expected)
    assert len((tmp_path / "a.json").read_text().splitlines()) == 4, "an image a line"


def test_a_growing_file_with_a_wrong_item_does_not_appear(tmp_path):
    content = {"class_names": [], "score_threshold": 0.3, "images": [], "failed": []}
    with (
        pytest.raises(MkdError, match=r"a.json: images\[0\].height: expected a valid integer"),
        schemas.growing(tmp_path / "a.json", content, DetectionsFile, "images") as append,
    ):
        append(IMAGE)
        append(IMAGE | {"height": "7"})
    assert list(tmp_path.iterdir()) == []
