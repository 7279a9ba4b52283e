"""A third format is one class and one line of FORMATS: exported, measured, recorded, run, and listed."""

import dataclasses
import io
import json

import numpy as np
import pytest

from mkd_tf import export, flags
from mkd_tf.checks import MkdError
from mkd_tf.conversion import FORMATS
from mkd_tf.conversion.base import Format, read_model
from mkd_tf.conversion.model_files import load_file_runner, load_runner
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.detection.postprocess import batch_detections
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.evaluation.predicting import predict_folder
from mkd_tf.options import option
from tests.conversion import made
from tests.deployment.exporting import export as export_to


class ArchiveRunner:
    """Runs the network of an archive, rounded as the archive says."""

    fit = ""

    def __init__(self, source):
        where, content = read_model(source, "an .npz file")
        with np.load(io.BytesIO(content)) as archive:
            self.digits = int(archive["digits"])
            self.class_names = tuple(archive["labels"].tolist())
            self._detector = load_detector(str(archive["path"]))
        self.image_size = self._detector.image_size
        self._anchors = self._detector.anchors.centers_and_sizes() / self.image_size

    def invoke(self, image):
        outputs = self._detector.inference()(image.reshape(-1, *image.shape[-3:]).astype("float32"))
        names = ("class_logits", "box_encodings")
        return {name: np.round(np.asarray(outputs[name]), self.digits) for name in names}

    def __call__(self, images):
        outputs = self.invoke(images)
        return batch_detections(outputs["class_logits"], outputs["box_encodings"], self._anchors)


@dataclasses.dataclass(frozen=True)
class Archive(Format):
    """A NumPy archive that names a Keras file."""

    path: str = option("", "The Keras file.", needs="a path")
    digits: int = option(3, "Decimals of the outputs.", choices=(1, 3))
    ending = ".npz"
    packages = ("rich",)

    def suffix(self):
        return f"{self.digits}.npz"

    def convert(self, detector, calibration, labels, fit, on_progress=None):
        assert calibration is None, "none was asked for"
        stream = io.BytesIO()
        np.savez(stream, path=self.path, digits=self.digits, labels=np.array(labels))
        return stream.getvalue()

    @staticmethod
    def runner(source, threads=1):
        return ArchiveRunner(source)

    def heads(self, content, images):
        detector = ArchiveRunner(content)._detector
        return {name: np.round(x, self.digits) for name, x in keras_heads(detector, images).items()}


@pytest.fixture
def source(tmp_path):
    save_detector(made.detector(), tmp_path / "best.keras")
    return tmp_path / "best.keras"


@pytest.fixture(autouse=True)
def third(monkeypatch):
    monkeypatch.setitem(FORMATS.entries, "archive", Archive)


def test_it_is_exported_measured_recorded_and_run(source, tmp_path):
    form = FORMATS.build(f"archive(path={str(source)!r})")
    entries = export_to(source, tmp_path, form, max_ap_drop=60.0)
    assert list(entries) == ["student_3.npz"] and entries["student_3.npz"]["verdict"] == "accepted"
    entry = json.loads((tmp_path / "export/manifest.json").read_text())["files"]["student_3.npz"]
    assert entry["flags"]["digits"] == 3 and "rich" in entry["versions"]
    assert 0 < entry["parity"]["scores"]["max"] <= 0.0005 + 1e-6, "half of the last decimal"
    assert entry["calibration"] == [] and abs(entry["AP_drop"]) < 5 and entry["latency_ms"] > 0

    file = tmp_path / "export/student_3.npz"
    runner = load_runner(file)
    assert runner.class_names == made.detector().class_names
    assert load_file_runner(str(file), threads=1).image_size == made.SIDE
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(_png())
    assert predict_folder(runner, tmp_path / "images", tmp_path / "drawn") == []
    assert (tmp_path / "drawn/a.png").is_file()


def _png():
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (80, 50), "teal").save(stream, "PNG")
    return stream.getvalue()


def test_it_is_listed_and_its_options_are_checked():
    with pytest.raises(MkdError, match="one of tflite, onnx, micro, archive, got 'zip'"):
        FORMATS.build("zip")
    with pytest.raises(MkdError, match="digits: expected one of 1, 3, got 2"):
        FORMATS.build("archive(path='x', digits=2)")
    with pytest.raises(MkdError, match="archive takes: path, digits"):
        FORMATS.build("archive(decimals=2)")


def test_help_shows_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mkd export", "--help"])
    with pytest.raises(SystemExit):
        export.console()
    told = capsys.readouterr().out
    assert "archive: A NumPy archive that names a Keras file:" in told and "digits=3" in told
    assert "One of 1, 3." in flags.describe(Archive)


def test_two_files_of_one_name_are_refused(source, tmp_path):
    form = Archive(path=str(source))
    with pytest.raises(MkdError, match="files of different names, got student_3.npz, student_3.npz"):
        export_to(source, tmp_path, form, form)
    assert not (tmp_path / "export").exists()
