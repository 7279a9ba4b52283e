"""Advice around a run: stored choices, stages settled from the time that is left, the diagnosis."""

import dataclasses
import io
import time

import pytest
from rich.console import Console

from mkd_tf import config as configuration
from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.schemas.inspection import AdviceFile
from mkd_tf.training import advice as advice_module
from mkd_tf.training.advice import FILE, Advice
from mkd_tf.training.advice_diagnosis import Finished, diagnose
from mkd_tf.training.advice_times import Load, Speed
from mkd_tf.training.plan import plan
from mkd_tf.training.workdir import claim
from tests.inspection.made import Made, plain

SPEED = {"mac_s": 1e-9, "batch_s": 0.0, "start_s": 0.0, "trace_s": 0.0, "read_s": 0.0, "batch_size": 10}
LOAD = {
    "macs": {"teacher": 1e6, "student": 1e6},
    "pools": {"teacher": 10000, "student": 10000},
    "validation": 0,
    "test": 0,
    "batch_size": 10,
    "eval_every": 5,
}
STAGE = {"epochs": 4, "steps": 4000, "step_s": 0.03, "start_s": 0.0, "validation_s": 0.0, "total_s": 120.6}
# A step of 10 images is 0.03 s, an epoch 1,000 steps and 30.15 s; with the teacher's pass it is 40.15 s.
RECORD = {
    "minutes": 6.0,
    "given": {},
    "chosen": {"teacher_epochs": 4, "student_epochs": 6, "image_size": 160},
    "reasons": [],
    "stages": {"teacher": STAGE, "student": STAGE | {"epochs": 6}},
    "choosing_s": 0.0,
    "speed": SPEED,
    "load": LOAD,
    "epochs": {},
    "spent_s": {},
}


@pytest.fixture
def begun(tmp_path):
    """Returns a function that makes the advice of a work directory that was begun with --minutes=6."""
    config = configuration.from_values(
        {"dataset": "x", "guide": "none", "workdir": str(tmp_path), "minutes": 6.0}
    )

    def make(given=(), **changed):
        if not (tmp_path / "flags.cfg").exists():
            schemas.write(tmp_path / FILE, RECORD, AdviceFile)
            claim(config)
        return Advice(configuration.from_values(configuration.to_values(config) | changed), given)

    return make


def test_the_same_command_goes_on_with_what_was_chosen(begun):
    advice = begun()
    roles = advice.config.roles
    assert (roles.teacher_epochs, roles.student_epochs, roles.image_size) == (4, 6, 160)
    # A size that is given now is not overruled: the work directory then tells the difference.
    assert begun(given=("image_size",)).config.roles.image_size == 192
    with pytest.raises(MkdError, match="flag --minutes: expected 6, with which .* was begun, got 9"):
        begun(minutes=9.0)
    assert begun(minutes=0.0).config.roles.image_size == 192


def test_a_choice_without_a_begun_run_is_made_anew(tmp_path):
    schemas.write(tmp_path / FILE, RECORD, AdviceFile)
    config = configuration.from_values({"dataset": "x", "workdir": str(tmp_path), "minutes": 6.0})
    assert Advice(config).config == config


def test_stages_are_settled_from_the_time_that_is_left(begun):
    advice = begun()
    teacher, student = plan(advice.config.roles)
    now = time.monotonic()
    advice._mark = now
    # 360 s for 4 teacher's and 6 student's epochs, 361.5 s together.
    assert advice.settle(teacher).epochs == 4
    advice._mark = now - 120.6
    advice.ended("teacher")
    assert advice.settle(student).epochs == 6
    stored = schemas.read(advice._folder / FILE, AdviceFile)
    assert stored["epochs"] == {"teacher": 4, "student": 6} and stored["spent_s"]["teacher"] == pytest.approx(
        120.6, abs=1
    )


def test_a_slow_stage_makes_the_next_one_shorter(begun):
    advice = begun()
    teacher, student = plan(advice.config.roles)
    assert advice.settle(teacher).epochs == 4
    # Twice as long as expected: 118.8 s are left, for epochs of 80 s.
    advice._mark = time.monotonic() - 2 * 120.6
    advice.ended("teacher")
    assert advice.settle(student).epochs == 1
    # A killed stage goes on with its epochs, whatever is left.
    again = begun()
    again._mark = time.monotonic() - 5000
    assert again.settle(student).epochs == 1
    assert again.settle(dataclasses.replace(student, role="student_qat")).epochs == 6


def test_what_is_chosen_is_printed_and_stored(tmp_path, monkeypatch):
    speed = Speed(1e-9, 0.01, 2.0, 0.5, 0.001, 16)
    load = Load({"teacher": 10e6, "student": 1e6}, {"teacher": 40, "student": 40}, 8, 8, 8, 5)
    monkeypatch.setattr(advice_module, "probe", lambda *given: speed)
    monkeypatch.setattr(advice_module, "load_of", lambda *given: load)
    values = {"dataset": "made", "guide": "none", "workdir": str(tmp_path / "run"), "minutes": 2.0}
    advice = Advice(configuration.from_values(values | {"image_size": 96}), given=("image_size", "minutes"))
    console = Console(file=io.StringIO(), width=200)
    config = advice.look(Made(("cat", "dog"), train=plain(40), validation=plain(8), test=plain(8)), console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("data: train 40 images with 80 objects; validation 8 images")
    assert 5 <= len(lines) <= 12 and any(line.startswith("estimate: 2 min in all") for line in lines)
    stored = schemas.read(tmp_path / "run" / FILE, AdviceFile)
    assert stored["chosen"]["batch_size"] == config.optimizer.batch_size == 8
    assert stored["chosen"]["student_epochs"] == config.roles.student_epochs > 30
    assert config.roles.image_size == 96 and stored["given"] == {"image_size": "96", "minutes": "2.0"}
    short = values | {"minutes": 0.0, "teacher_epochs": 2, "student_epochs": 2}
    # A run of more steps is estimated from its first ones.
    assert not Advice(configuration.from_values(short)).watch(
        plan(configuration.from_values(short).roles)[0],
        Made(("cat", "dog"), train=plain(8)),
        None,
        print,
    )


def role(ap, **more):
    return {"AP": ap, "per_class": {"cat": ap + 5, "dog": ap - 5}, "AP_small": 1.0, **more}


def finished(teacher=50.0, student=40.0, alone=None, curves=None, train=None, **results):
    roles = {"teacher": role(teacher), "student": role(student)}
    roles |= {"student_alone": role(alone)} if alone is not None else {}
    per_class = {"cat": {"objects": 500}, "dog": {"objects": 300}}
    facts = {
        "labelled": 200,
        "objects": 800,
        "size_px": [20.0, 30.0, 40.0, 50.0, 60.0],
        "per_class": per_class,
    }
    splits = {"train": facts | (train or {}), "test": {"objects": 900, "images": 90}}
    data = {"splits": splits, "suspects": [], "image_size": 192}
    config = configuration.from_values({"dataset": "x"})
    return Finished({"roles": roles, "files": {}, **results}, data, config, curves or {})


def test_a_sound_run_has_no_diagnosis():
    flat = {"student": dict.fromkeys(range(5, 61, 5), 40.0)}
    assert not diagnose(finished(alone=35.0, curves=flat))


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"teacher": 40.5}, "not better than its student: test AP 40.5, student 40.0"),
        ({"alone": 39.5}, "distillation: +0.5 AP against the same student alone (39.5)"),
        (
            {"curves": {"student": {e: float(e) for e in range(5, 61, 5)}}},
            "student: under-trained: validation AP rose by 15.0 to 60.0 in the last quarter of its 60 "
            "epochs; try --student_epochs=120",
        ),
        (
            {"curves": {"teacher": {5: 20.0, 10: 45.0, 15: 42.0, 20: 41.0}}},
            "teacher: over-trained: validation AP was 45.0 after epoch 10 and 41.0 after 20",
        ),
        (
            {"train": {"per_class": {"cat": {"objects": 500}, "dog": {"objects": 7}}}},
            "fewer than 20: dog 7 (AP 35.0); AP of all classes 40.0",
        ),
        (
            {"train": {"size_px": [6.0, 8.0, 20.0, 30.0, 40.0]}},
            "at least 25% of the training objects are below 12 px at the 192 px input; AP of COCO's small "
            "objects 1.0, of all 40.0; try --image_size=288",
        ),
        (
            {"teacher_labels": {"class_right": 0.7, "images": 9, "boxes_per_image": 3.0, "covered": 0.5}},
            "70% of their weight on objects has the right class",
        ),
    ],
)
def test_each_sentence_has_its_figure(run, told):
    (one,) = diagnose(finished(**run))
    assert told in one["text"] and one["figures"]
