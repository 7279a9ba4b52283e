"""Times of stages worked by hand, epochs that fill a time, and what --minutes chooses."""

import pytest

from mkd_tf import config as configuration
from mkd_tf.training.advice_choice import choose, choose_batch, sizes_to_try, validation_distance
from mkd_tf.training.advice_estimate import FirstSteps, estimate, steps_of
from mkd_tf.training.advice_times import (
    Load,
    Speed,
    in_words,
    scaled_epochs,
    sources_of,
    stage_time,
    step_seconds,
)
from mkd_tf.training.plan import Stage, plan

SPEED = Speed(mac_s=1e-9, batch_s=0.02, start_s=5.0, trace_s=1.0, read_s=0.001, batch_size=16)
MACS = {"teacher": 10e6, "guide": 3e6, "student": 1e6}
LOAD = Load(MACS, {"teacher": 160, "guide": 320, "student": 320}, 50, 100, 16, 5)
TEACHER = Stage("teacher", "tiny", 75)
STUDENT = Stage("student", "tiny", 60, "soft_classes, soft_boxes", ("teacher", "guide"))


def config_of(**values):
    return configuration.from_values({"dataset": "x"} | values)


def facts(small=20.0, objects=500, side=480.0):
    train = {
        "objects": objects,
        "size_px": [small, 30.0, 40.0, 50.0, 60.0],
        "height_px": side,
        "width_px": side,
    }
    return {"splits": {"train": train}}


def test_a_step_costs_three_passes_and_one_of_each_teacher():
    # 16 images of 10e6 multiply-adds take 0.16 s forward.
    assert step_seconds(TEACHER, LOAD, SPEED) == pytest.approx(3 * 0.16 + 0.02)
    assert step_seconds(STUDENT, LOAD, SPEED) == pytest.approx(3 * 0.016 + 0.16 + 0.02)
    assert sources_of(STUDENT) == ("teacher",)
    hint = Stage("student", "tiny", 60, "hint(source='guide')", ("teacher", "guide"))
    assert sources_of(hint) == ("teacher", "guide")
    assert sources_of(Stage("student_alone", "tiny", 60)) == ()


def test_a_stage_is_its_steps_its_validations_and_its_end():
    found = stage_time(TEACHER, 10, LOAD, SPEED)
    assert (found["epochs"], found["steps"]) == (10, 100)
    image = 0.01
    assert found["validation_s"] == pytest.approx(1 + 2 * 50 * image)
    assert found["start_s"] == pytest.approx(5 + 4 * 1 + (150 + 200) * image)
    assert found["total_s"] == pytest.approx(found["start_s"] + found["validation_s"] + 100 * 0.5 + 10 * 0.15)


def test_epochs_fill_the_time_in_their_proportion():
    stages = [TEACHER, STUDENT]
    epochs, factor = scaled_epochs(stages, LOAD, SPEED, 600)
    assert factor == pytest.approx(epochs["teacher"] / 75, abs=0.02)
    assert epochs["teacher"] / epochs["student"] == pytest.approx(75 / 60, rel=0.05)
    whole = sum(stage_time(s, epochs[s.role], LOAD, SPEED)["total_s"] for s in stages)
    assert whole == pytest.approx(600, rel=0.03)
    assert scaled_epochs(stages, LOAD, SPEED, 1.0) == ({"teacher": 1, "student": 1}, 0.0)


def test_the_input_is_as_large_as_objects_need_and_images_are():
    assert sizes_to_try(facts(20), config_of(), ()) == [192, 160, 128, 96]
    # Objects of 8 px at 192 px want 288 px; below 192 px they would be lost.
    assert sizes_to_try(facts(8), config_of(), ()) == [288, 256, 224, 192]
    assert sizes_to_try(facts(8, side=224), config_of(), ()) == [224, 192]
    assert sizes_to_try(facts(20, side=128), config_of(), ()) == [128, 96]
    assert sizes_to_try(facts(8), config_of(), ("image_size",)) == [192]
    assert sizes_to_try({"splits": {}}, config_of(), ()) == [192]


def test_small_sets_have_small_batches():
    assert choose_batch(config_of(), (), 1000) == {}
    assert choose_batch(config_of(), (), 60) == {"batch_size": 8, "learning_rate": 0.002828}
    assert choose_batch(config_of(), ("batch_size",), 60) == {}
    assert choose_batch(config_of(), ("learning_rate",), 60) == {"batch_size": 8}


def test_more_time_is_more_epochs_and_less_is_a_smaller_input():
    config, stages = config_of(guide="none"), [TEACHER, STUDENT]
    much = choose(facts(), config, (), stages, LOAD, SPEED, 900)
    assert "image_size" not in much.values and much.values["teacher_epochs"] > 75
    assert "95 % of the 500 training objects are at least 20 px there" in much.reasons[0]
    little = choose(facts(), config, (), stages, LOAD, SPEED, 110)
    assert little.values["image_size"] < 192 and "too few steps would fit" in little.reasons[0]
    least = choose(facts(), config, (), stages, LOAD, SPEED, 10)
    assert least.values["image_size"] == 96 and least.values["student_epochs"] == 1
    assert "expect an under-trained network" in least.reasons[-1]
    given = choose(facts(), config, ("image_size", "eval_every"), stages, LOAD, SPEED, 110)
    assert not {"image_size", "eval_every"} & set(given.values)


def test_validations_take_a_tenth_of_the_time_at_most_and_are_four_at_least():
    assert validation_distance(60, LOAD, SPEED, STUDENT) == 5
    assert validation_distance(8, LOAD, SPEED, STUDENT) == 2
    many = Load(MACS, LOAD.pools, 5000, 100, 16, 5)
    assert validation_distance(200, many, SPEED, STUDENT) == 50


def test_an_estimate_is_the_sum_of_its_stages():
    said = []
    assert steps_of([TEACHER, STUDENT], LOAD.pools, 16) == 75 * 10 + 60 * 20
    line = estimate([TEACHER, STUDENT], LOAD, 0.5, 5.0)
    assert (
        line.startswith("estimate: 12 min for all stages: teacher 7 min, student ")
        and "(500 ms a step" in line
    )
    watch = FirstSteps([TEACHER, STUDENT], LOAD, said.append)
    for step in range(15):
        watch.on_train_batch_end(step)
    assert len(said) == 1 and said[0].startswith("estimate:")


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (89.4, "89 s"), (600, "10 min"), (3600 * 3 + 1200, "3 h 20 min")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_every_stage_of_a_plan_has_a_time():
    config = config_of(baseline=True)
    load = Load(MACS | {"student_alone": 1e6}, LOAD.pools | {"student_alone": 320}, 50, 100, 16, 5)
    assert all(stage_time(s, s.epochs, load, SPEED)["total_s"] > 0 for s in plan(config.roles))
