"""Models by role or by path, and what is told of those that are not there."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.model_files import find_model, load_runner, trained_roles


@pytest.fixture
def workdir(tmp_path):
    for role in ("student_qat", "student", "teacher", "export"):
        (tmp_path / "run" / role).mkdir(parents=True)
        if role != "export":
            (tmp_path / "run" / role / "best.keras").touch()
    return tmp_path / "run"


def test_any_role_of_a_work_directory_is_found_by_its_name(workdir):
    assert trained_roles(workdir) == ["teacher", "student", "student_qat"]
    for role in trained_roles(workdir):
        assert find_model(str(workdir), role) == workdir / role / "best.keras"


def test_a_path_is_found_too(workdir, monkeypatch):
    path = workdir.parent / "other.tflite"
    path.touch()
    assert find_model(workdir, str(path)) == path
    monkeypatch.chdir(workdir.parent)
    assert find_model(workdir, "other.tflite").is_file()


def test_what_is_not_there_is_told(workdir, tmp_path):
    with pytest.raises(
        MkdError, match="model guide: .* a role of .*: teacher, student, student_qat, got no such"
    ):
        find_model(workdir, "guide")
    with pytest.raises(MkdError, match="none yet"):
        find_model(tmp_path, "student")


def test_a_kind_that_nothing_runs_is_told():
    with pytest.raises(MkdError, match="model student.h5: .* ends in .keras, .tflite, .onnx, .cc, got .h5"):
        load_runner("student.h5")
