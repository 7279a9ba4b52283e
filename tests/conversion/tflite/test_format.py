"""The export from a `.keras` file: run, measured, recorded; rejected or failed without harm."""

import hashlib
import json

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.tflite import convert, heads
from mkd_tf.conversion.tflite.finishing import finish
from mkd_tf.conversion.tflite.format import TFLite
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.deployment import measuring
from mkd_tf.deployment.options import ExportOptions
from mkd_tf.deployment.shipping import first
from mkd_tf.detectors.files import save_detector
from mkd_tf.evaluation.results import read_results
from tests.conversion import made
from tests.deployment.exporting import export


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.keras"
    save_detector(made.detector(), path)
    return path


def test_files_are_run_and_recorded(source, tmp_path):
    formats = [TFLite(), TFLite(quantization="float32", postprocess="raw")]
    entries = export(source, tmp_path, *formats, calibration_images=4, max_ap_drop=60.0)
    assert set(entries) == {"student_int8.tflite", "student_float32_raw.tflite"}
    manifest = json.loads((tmp_path / "export/manifest.json").read_text())["files"]
    results = read_results(tmp_path / "results.json")["files"]
    for name, entry in entries.items():
        assert entry["verdict"] == "accepted" and entry["threads"] == 1 and entry["latency_ms"] > 0
        assert entry["bytes"] == (tmp_path / "export" / name).stat().st_size
        assert results[name] | {"score_error": entry["score_error"]} == entry
        assert manifest[name]["AP_float"]["stretch"] > 90, "the data set is made of the model's detections"
        assert manifest[name]["AP_drop"] == pytest.approx(manifest[name]["AP_float"]["stretch"] - entry["AP"])
        assert set(manifest[name]["parity"]) == {"box_encodings", "scores"}
        assert 0 < manifest[name]["recommended_score_threshold"]["value"] < 1
    exact, rough = (manifest[n] for n in ("student_float32_raw.tflite", "student_int8.tflite"))
    assert abs(exact["AP_drop"]) < 0.01 and exact["parity"]["scores"]["max"] < 1e-5
    assert exact["recommended_score_threshold"]["f1"] == pytest.approx(1)
    assert exact["recommended_score_threshold"]["value"] >= 0.599, "not that of validation"
    assert rough["parity"]["scores"]["max"] > 1e-3
    assert len(rough["calibration"]) == 4 and rough["calibration"][0].startswith("train")
    assert exact["calibration"] == []
    assert (tmp_path / "export/student_float32_raw.anchors.csv").read_text().startswith("ycenter,")
    assert exact["AP_letterbox"] == pytest.approx(exact["AP"]), "square images are fitted alike"


def test_a_file_returns_nothing_below_its_threshold(source, tmp_path):
    export(source, tmp_path, TFLite("float32", score_threshold=0.7), max_ap_drop=100.0)
    found = TFLiteRunner(tmp_path / "export/student_float32.tflite")(made.images(6))
    every = TFLiteRunner(made.file("float32"))(made.images(6))
    for some, more in zip(found, every, strict=True):
        assert len(some) == (more.scores >= 0.7).sum() < len(more)
    entry = json.loads((tmp_path / "export/manifest.json").read_text())["files"]["student_float32.tflite"]
    assert entry["flags"]["score_threshold"] == 0.7


def test_a_file_that_loses_too_much_is_rejected_and_the_earlier_one_stays(source, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/student_int8.tflite").write_bytes(b"earlier")
    with pytest.raises(MkdError, match=r"student_int8.tflite.rejected lost \d+\.\d\d AP; at most 0.0"):
        export(source, tmp_path, TFLite(), calibration_images=4, max_ap_drop=0.0)
    assert (tmp_path / "export/student_int8.tflite").read_bytes() == b"earlier"
    files = read_results(tmp_path / "results.json")["files"]
    assert set(files) == {"student_int8.tflite.rejected"}
    assert files["student_int8.tflite.rejected"]["verdict"] == "rejected"


def test_a_failure_changes_nothing(source, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/student_float32.tflite").write_bytes(b"earlier")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    content = made.file("float32")  # before the patches: it converts with the function that they replace

    for module, name in ((convert, "to_tflite"), (heads, "tflite_heads"), (measuring, "latency_ms")):
        with monkeypatch.context() as patch:
            patch.setattr(convert, "to_tflite", lambda *_, **__: content)
            patch.setattr(module, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                export(source, tmp_path, TFLite("float32"))
    assert [p.name for p in (tmp_path / "export").iterdir()] == ["student_float32.tflite"]
    assert (tmp_path / "export/student_float32.tflite").read_bytes() == b"earlier"
    assert not (tmp_path / "results.json").exists()


def test_another_data_set_is_refused(source, tmp_path):
    dataset = made.OwnDetections(class_names=("class0", "class2", "class1"))
    with pytest.raises(MkdError, match="expected a detector of the classes class0, class2, class1"):
        export(source, tmp_path, TFLite("float32"), dataset=dataset)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (TFLite, {"quantization": "int4"}),
        (TFLite, {"postprocess": "x"}),
        (TFLite, {"score_threshold": 2.0}),
        (ExportOptions, {"calibration_images": 0}),
        (ExportOptions, {"max_ap_drop": -1.0}),
    ],
)
def test_options_are_checked(options, option):
    with pytest.raises(MkdError, match=next(iter(option))):
        options(**option)


@pytest.mark.parametrize("value", ["auto", "0.3", 0.3])
def test_a_threshold_is_chosen_or_given(value):
    assert TFLite(score_threshold=value, max_detections=7).suppression() == (
        None if value == "auto" else 0.3,
        7,
    )
    assert TFLite(postprocess="raw", score_threshold=value).suppression() is None
    with pytest.raises(MkdError, match=r"score_threshold: expected auto or a number in 0\.\.1, got 'low'"):
        TFLite(score_threshold="low")


def test_a_file_says_of_itself_what_the_manifest_says(source, tmp_path):
    export(source, tmp_path, TFLite("float32", max_detections=9), max_ap_drop=100.0)
    manifest = json.loads((tmp_path / "export/manifest.json").read_text())
    entry = manifest["files"]["student_float32.tflite"]
    content = (tmp_path / "export/student_float32.tflite").read_bytes()
    # Without anything beside it.
    runner = TFLiteRunner(content)
    assert (
        runner.facts.source_sha256
        == entry["source"]["sha256"]
        == hashlib.sha256(source.read_bytes()).hexdigest()
    )
    assert runner.facts.version == entry["versions"]["mkd_tf"]
    assert runner.fit == entry["flags"]["fit"] == "stretch"
    assert list(runner.facts.labels) == entry["labels"]
    assert runner.operating_point == entry["recommended_score_threshold"]
    chosen = entry["shipped"]
    assert runner.facts.score_threshold == chosen["score_threshold"] <= runner.operating_point["value"]
    assert runner.facts.max_detections == chosen["max_detections"] == 9
    # What it returns is the first part of what was measured.
    every = TFLiteRunner(made.file("float32"))(made.images(6))
    for some, more in zip(runner(made.images(6)), every, strict=True):
        wanted = first(more, chosen["score_threshold"], 9)
        np.testing.assert_array_equal(some.scores, wanted.scores)
        np.testing.assert_array_equal(some.boxes, wanted.boxes)
        np.testing.assert_array_equal(some.labels, wanted.labels)
    assert chosen["AP"] <= entry["AP"]
    # What is in the graph is still what was converted, but for the post-process.
    assert finish(content, runner.facts) == content
