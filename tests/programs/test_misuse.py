"""Programs as users call and miscall them: one clear line, a non-zero exit, nothing lost."""

import importlib
import subprocess

import pytest

from mkd_tf.conversion import model_files
from mkd_tf.evaluation import predicting
from tests.export import programs
from tests.export.programs import error_of

SHAPES = "shapes(train=8, validation=4, test=4, unlabelled=0, size=64)"


def run(program: str, *flags: str) -> subprocess.CompletedProcess:
    return programs.run(*flags, module=f"mkd_tf.{program}", timeout=120)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], ["flag --dataset: expected a data set, got nothing", "voc_folder(path=", "--dataset=shapes"]),
        (["--dataset=shape"], ["dataset", "shapes", "voc_folder", "'shape'"]),
        (["--dataset=voc_folder(path='no/such/folder')"], ["no/such/folder"]),
        (["--dataset=voc_folder(pth='.')"], ["pth", "path"]),
        (["--dataset='shapes'"], ["--dataset", "quotes"]),
        (["--image_size=100", f"--dataset={SHAPES}"], ["image_size", "100", "multiple of 32"]),
        (["--labelled=999", f"--dataset={SHAPES}"], ["labelled", "999", "at most 8"]),
        (["--strategies=soft_class", f"--dataset={SHAPES}"], ["strategy", "soft_class", "soft_classes"]),
        (["--student=tiny(widths=(8,8))", f"--dataset={SHAPES}"], ["widths", "four"]),
        (["--teacher_weights=no.keras", f"--dataset={SHAPES}"], ["no.keras", "no such file"]),
        (["--batch_size=many"], ["batch_size", "many"]),
        (["--flips=sideways"], ["flips", "sideways", "horizontal"]),
        (["--imagesize=192"], ["imagesize"]),
        (["surplus"], ["surplus"]),
    ],
)
def test_train_tells_what_is_wrong(tmp_path, flags, told):
    line = error_of(run("train", f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'data'}", *flags))
    assert all(word in line for word in told), line
    assert not list((tmp_path / "run").glob("teacher/*")), "a network was trained on a wrong configuration"


def test_comment_behind_a_value_in_a_flagfile(tmp_path):
    flagfile = tmp_path / "run.cfg"
    flagfile.write_text("--image_size=64  # px\n")
    assert "comment" in error_of(run("train", f"--flagfile={flagfile}"))


def test_work_directory_of_another_run_is_left_alone(tmp_path):
    (tmp_path / "flags.cfg").write_text("--image_size=999\n")
    line = error_of(run("train", f"--workdir={tmp_path}", f"--dataset={SHAPES}"))
    assert "--image_size was '999'" in line
    assert (tmp_path / "flags.cfg").read_text() == "--image_size=999\n"


def test_dirty_annotations_are_named(tmp_path, shared_data):
    line = error_of(run("train", f"--dataset=voc_folder(path='{shared_data}/bccd')", f"--workdir={tmp_path}"))
    for told in ("BloodImage_00338.xml object 12", "BloodImage_00343.xml object 3", "on_bad_example=skip"):
        assert told in line


def test_evaluate_and_predict(tmp_path):
    (tmp_path / "broken.keras").write_text("not a zip")
    cases = [
        ("evaluate", [f"--workdir={tmp_path}"], "flags.cfg"),
        ("predict", [], "--model"),
        ("predict", ["--model=no.keras", "--input=x", "--output=y"], "no such file"),
        ("predict", [f"--model={tmp_path}/broken.keras", "--input=x", "--output=y"], "not a readable .keras"),
    ]
    for program, flags, told in cases:
        assert told in error_of(run(program, *flags))


def test_predict_asks_for_the_fit_only_where_none_is_given(tmp_path, monkeypatch):
    # A program, which BUILD gives a test as data.
    predict = importlib.import_module("mkd_tf.predict")
    (tmp_path / "flags.cfg").write_text("--flag_of_another_version=1\n")
    fits = []

    def predict_folder(*arguments):
        fits.append(arguments[4])
        return []

    monkeypatch.setattr(model_files, "load_runner", lambda _: None)
    monkeypatch.setattr(predicting, "predict_folder", predict_folder)

    def run_main(model, fit=""):
        predict.main(predict.PredictOptions(model=model, input="x", output="y", fit=fit))

    with pytest.raises(predict.MkdError, match=r"flags.cfg: not of this version"):
        run_main(str(tmp_path / "student/best.keras"))
    run_main(str(tmp_path / "student/best.keras"), "letterbox")
    run_main("/model.tflite")  # there is no folder above its own
    assert fits == ["letterbox", "stretch"]


@pytest.mark.parametrize(
    ("program", "own"),
    [("train", "--dataset"), ("evaluate", "--split"), ("predict", "--score_threshold")],
)
def test_help_shows_the_programs_own_flags(program, own):
    done = run(program, "--help")
    assert own in done.stdout + done.stderr
