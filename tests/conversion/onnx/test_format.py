"""The ONNX export from a `.keras` file: run, measured, recorded; rejected or failed without harm."""

import json
import sys

import numpy as np
import onnx
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.compression import CompressedDetector
from mkd_tf.conversion.onnx import convert, heads
from mkd_tf.conversion.onnx.convert import to_onnx
from mkd_tf.conversion.onnx.format import Onnx
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.conversion.parity import differences, keras_heads
from mkd_tf.deployment import measuring
from mkd_tf.deployment.options import ExportOptions
from mkd_tf.detectors.files import save_detector
from mkd_tf.evaluation.results import read_results
from tests import harness
from tests.conversion import made
from tests.conversion.onnx import made_onnx
from tests.deployment.exporting import export


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.keras"
    save_detector(made.detector(), path)
    return path


def test_files_are_run_and_recorded(source, tmp_path):
    formats = [Onnx(quantization="int8"), Onnx(postprocess="raw", dynamic_batch=True, opset=13)]
    entries = export(source, tmp_path, *formats, calibration_images=4, max_ap_drop=60.0)
    rough_name, exact_name = "student_int8.onnx", "student_float32_dynamic_raw.onnx"
    assert set(entries) == {rough_name, exact_name}
    manifest = json.loads((tmp_path / "export/manifest.json").read_text())["files"]
    results = read_results(tmp_path / "results.json")["files"]
    for name, entry in entries.items():
        assert entry["verdict"] == "accepted" and entry["threads"] == 1 and entry["latency_ms"] > 0
        assert entry["bytes"] == (tmp_path / "export" / name).stat().st_size
        assert results[name] | {"score_error": entry["score_error"]} == entry
        assert manifest[name]["AP_float"]["stretch"] > 90, "the data set is made of the model's detections"
        assert manifest[name]["AP_drop"] == pytest.approx(manifest[name]["AP_float"]["stretch"] - entry["AP"])
        assert {"onnx", "onnxruntime", "tf2onnx"} < set(manifest[name]["versions"])
    exact, rough = manifest[exact_name], manifest[rough_name]
    assert abs(exact["AP_drop"]) < 0.01 and exact["flags"]["opset"] == 13
    assert set(exact["parity"]) == {"box_encodings", "scores"} and exact["parity"]["scores"]["max"] < 1e-5
    assert set(rough["parity"]) == {"boxes", "scores"} and rough["parity"]["scores"]["max"] > 1e-3
    assert exact["recommended_score_threshold"]["value"] >= 0.599, "not that of validation"
    assert len(rough["calibration"]) == 4 and rough["calibration"][0].startswith("train")
    assert exact["calibration"] == []
    assert OnnxRunner(tmp_path / "export" / exact_name).class_names == made.detector().class_names


class WithoutTraining(made.OwnDetections):
    """Fails where its training images are asked for."""

    def _split(self, name):
        if name == "train":
            raise LookupError(name)
        return super()._split(name)


def test_a_student_that_brings_its_ranges_is_not_calibrated(tmp_path):
    student = CompressedDetector(made.detector())
    student.prepare(made.images(16))
    save_detector(student, tmp_path / "best.keras")
    form = Onnx("int8")
    export(tmp_path / "best.keras", tmp_path, form, dataset=WithoutTraining(), max_ap_drop=60.0)
    (entry,) = json.loads((tmp_path / "export/manifest.json").read_text())["files"].values()
    assert entry["calibration"] == []
    assert form.needs_calibration(made.detector()) and not Onnx().needs_calibration(made.detector())


def test_a_file_that_loses_too_much_is_rejected_and_the_earlier_one_stays(source, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/student_float32.onnx").write_bytes(b"earlier")
    other = to_onnx(harness.shake(harness.build("tiny(size='student')", made.CLASSES, seed=5)))
    monkeypatch.setattr(convert, "to_onnx", lambda *_, **__: other)
    with pytest.raises(MkdError, match=r"student_float32.onnx.rejected lost \d+\.\d\d AP; at most 2.0"):
        export(source, tmp_path, Onnx())
    assert (tmp_path / "export/student_float32.onnx").read_bytes() == b"earlier"
    rejected = onnx.load(tmp_path / "export/student_float32.onnx.rejected")
    assert rejected.graph == onnx.load_from_string(other).graph
    files = read_results(tmp_path / "results.json")["files"]
    assert {name: entry["verdict"] for name, entry in files.items()} == {
        "student_float32.onnx.rejected": "rejected"
    }


def test_a_failure_changes_nothing(source, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/student_float32.onnx").write_bytes(b"earlier")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    content = made_onnx.file()  # before the patches: it converts with the function that they replace

    for module, name in ((convert, "to_onnx"), (heads, "onnx_heads"), (measuring, "latency_ms")):
        with monkeypatch.context() as patch:
            patch.setattr(convert, "to_onnx", lambda *_, **__: content)
            patch.setattr(module, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                export(source, tmp_path, Onnx())
    assert [p.name for p in (tmp_path / "export").iterdir()] == ["student_float32.onnx"]
    assert (tmp_path / "export/student_float32.onnx").read_bytes() == b"earlier"
    assert not (tmp_path / "results.json").exists()


def test_missing_onnxruntime_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MkdError, match=r"onnxruntime.*pip install mkd_tf\[onnx\]"):
        export(tmp_path / "none.keras", tmp_path, Onnx())


@pytest.mark.parametrize("postprocess", ["raw", "decoded"])
def test_parity_knows_both_forms(postprocess):
    images, form = made.images(2), Onnx(postprocess=postprocess)
    content = made_onnx.file(postprocess=postprocess)
    wanted = form.expected_heads(made.detector(), keras_heads(made.detector(), images))
    found = differences(form.heads(content, images), wanted)
    assert set(found) == {"scores", "box_encodings" if postprocess == "raw" else "boxes"}
    assert max(x["max"] for x in found.values()) < 2e-5
    other = differences(form.heads(content, np.flip(images, axis=1)), wanted)
    assert min(x["max"] for x in other.values()) > 0.05, "it cannot tell one image from another"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (Onnx, {"quantization": "int4"}),
        (Onnx, {"postprocess": "detection"}),
        (Onnx, {"opset": 12}),
        (Onnx, {"dynamic_batch": True, "quantization": "int8"}),
        (ExportOptions, {"fit": "crop"}),
        (ExportOptions, {"calibration_images": 0}),
        (ExportOptions, {"max_ap_drop": -1.0}),
        (ExportOptions, {"seed": -1}),
    ],
)
def test_options_are_checked(options, option):
    with pytest.raises(MkdError, match=next(iter(option))):
        options(**option)


def test_names_of_files():
    assert Onnx().suffix() == "float32.onnx"
    assert Onnx("int8", "raw").suffix() == "int8_raw.onnx"
    assert Onnx(dynamic_batch=True).suffix() == "float32_dynamic.onnx"
