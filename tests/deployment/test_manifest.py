"""The record of exported files: manifest, labels and results say the same; a rejected file stands apart."""

import hashlib
import json

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.deployment.manifest import read_manifest, record
from mkd_tf.evaluation.results import empty_results, read_results, write_results
from tests.records import MEASURED, ROLE


def manifest(workdir):
    return json.loads((workdir / "export/manifest.json").read_text())


def test_accepted_file(tmp_path):
    write_results(tmp_path / "results.json", empty_results(command="c") | {"roles": {"student": ROLE}})
    path, _ = record(
        tmp_path, "s.tflite", b"content", ["x", "y"], MEASURED, "accepted", companions={"a.csv": "1\n"}
    )
    assert path == tmp_path / "export/s.tflite" and path.read_bytes() == b"content"
    assert (tmp_path / "export/labels.txt").read_text() == "x\ny\n"
    assert (tmp_path / "export/a.csv").read_text() == "1\n"
    stored = manifest(tmp_path)
    assert stored["labels"] == ["x", "y"]
    entry = stored["files"]["s.tflite"]
    assert entry["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert entry["calibration"] == ["a", "b"] and entry["verdict"] == "accepted" and entry["bytes"] == 7
    results = read_results(tmp_path / "results.json")
    assert results["roles"] == {"student": ROLE} and results["command"] == "c"
    assert results["files"]["s.tflite"] == {
        "AP": 41.5,
        "AP_letterbox": 40.5,
        "AP_drop": 0.2,
        "bytes": 7,
        "latency_ms": 0.4,
        "threads": 1,
        "verdict": "accepted",
    }


def test_a_rejected_file_leaves_the_accepted_one_and_its_record(tmp_path):
    record(tmp_path, "s.tflite", b"good", ["x"], MEASURED, "accepted")
    before = manifest(tmp_path)["files"]["s.tflite"]
    path, _ = record(tmp_path, "s.tflite", b"bad", ["x"], MEASURED | {"AP_drop": 9.0}, "rejected")
    assert path.name == "s.tflite.rejected" and path.read_bytes() == b"bad"
    assert (tmp_path / "export/s.tflite").read_bytes() == b"good"
    files = manifest(tmp_path)["files"]
    assert files["s.tflite"] == before and files["s.tflite.rejected"]["verdict"] == "rejected"
    assert set(read_results(tmp_path / "results.json")["files"]) == {"s.tflite", "s.tflite.rejected"}


def test_acceptance_makes_an_older_rejection_void(tmp_path):
    record(tmp_path, "s.tflite", b"bad", ["x"], MEASURED, "rejected")
    record(tmp_path, "other.tflite", b"other", ["x"], MEASURED, "rejected")
    record(tmp_path, "s.tflite", b"good", ["x"], MEASURED, "accepted")
    assert not (tmp_path / "export/s.tflite.rejected").exists()
    for files in (manifest(tmp_path)["files"], read_results(tmp_path / "results.json")["files"]):
        assert set(files) == {"s.tflite", "other.tflite.rejected"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "damaged"),
        ('{"schema": 9}', "expected a manifest of schema 1, got 9"),
        ("[]", "schema 1, got list"),
    ],
)
def test_a_damaged_manifest_stops_before_anything_is_written(tmp_path, content, told):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/manifest.json").write_text(content)
    with pytest.raises(MkdError, match=told):
        record(tmp_path, "s.tflite", b"good", ["x"], MEASURED, "accepted")
    assert not (tmp_path / "export/s.tflite").exists()
    assert read_manifest(tmp_path / "elsewhere") == {"schema": 1, "labels": [], "files": {}}


def test_a_rejected_file_leaves_the_labels_of_what_ships(tmp_path):
    record(tmp_path, "a.tflite", b"", ["Katze", "Hund"], MEASURED, "accepted")
    record(tmp_path, "b.tflite", b"", ["cat", "dog"], MEASURED, "rejected")
    stored = manifest(tmp_path)
    assert stored["labels"] == ["Katze", "Hund"]
    assert (tmp_path / "export/labels.txt").read_text() == "Katze\nHund\n"
    assert stored["files"]["b.tflite.rejected"]["labels"] == ["cat", "dog"]
