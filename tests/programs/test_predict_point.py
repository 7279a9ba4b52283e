"""Which score predict draws from where none is given."""

import importlib
import types

from mkd_tf import schemas
from mkd_tf.schemas.deployment import ManifestFile
from tests.records import MEASURED

# A program, which BUILD gives a test as data.
own_point = importlib.import_module("mkd_tf.predict").own_point


def test_a_keras_file_has_its_own(tmp_path):
    runner = types.SimpleNamespace(operating_point={"value": 0.25, "f1": 0.5, "chosen": "so"})
    assert own_point(runner, str(tmp_path / "best.keras")) == (0.25, "so")


def test_that_of_an_exported_file_is_in_the_manifest(tmp_path):
    entry = MEASURED | {
        "sha256": "ab",
        "created": "now",
        "labels": ["cat"],
        "bytes": 1,
        "verdict": "accepted",
    }
    nameless = entry | {"recommended_score_threshold": None}
    files = {"a.tflite": entry, "b.tflite": nameless}
    schemas.write(tmp_path / "manifest.json", {"labels": ["cat"], "files": files}, ManifestFile)
    assert own_point(object(), str(tmp_path / "a.tflite")) == (0.4, "so")
    for name in ("b.tflite", "c.tflite"):
        assert own_point(object(), str(tmp_path / name)) == (
            0.3,
            "a default: the model has no operating point",
        )


def test_a_manifest_of_something_else_says_nothing(tmp_path):
    (tmp_path / "manifest.json").write_text("[]")
    assert own_point(object(), str(tmp_path / "a.tflite"))[0] == 0.3
