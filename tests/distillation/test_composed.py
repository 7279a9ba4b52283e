"""A distiller composed of objects, its short form, and the files of both, old ones included."""

import json
import zipfile

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.distillation.balance import Balance
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.objective import Objective
from mkd_tf.distillation.task import DetectionTask
from mkd_tf.strategies import AttentionMap, Hint, SoftBoxes, SoftClasses
from tests.distillation.test_distiller import batch, detector, endless

SHORT = {"beta": 2.0, "box_weight": 1.5, "balance": "calibrated", "gradient_cap": 0.5, "steps": 40}


def strategies():
    keras.utils.set_random_seed(3)
    return [SoftClasses(rise=0.5), SoftBoxes(2.0, source="best"), AttentionMap(0.1), Hint(fall=0.5)]


def networks():
    return detector(), detector(64, 1), detector(64, 2)


def composed(**options):
    balance = Balance("calibrated", gradient_cap=0.5, steps=40, warmup_steps=3)
    objective = Objective(DetectionTask(beta=2.0, box_weight=1.5), strategies(), balance)
    return Distiller(*networks(), objective=objective, **options)


def evaluated(made):
    made.run_eagerly = True
    return made.evaluate(endless(batch(64)), steps=1, verbose=0, return_dict=True)


@pytest.fixture(scope="module")
def trained():
    """A composed distiller after a few steps of measuring."""
    made = composed(name="composed")
    made.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    made.fit(endless(batch(64)), epochs=4, steps_per_epoch=1, shuffle=False, verbose=0)
    return made


def test_the_short_form_builds_the_same_objects():
    short = Distiller(*networks(), strategies(), **SHORT, warmup_steps=3, name="distiller")
    assert short.objective.task == DetectionTask(2.0, 1.5)
    assert short.get_config() == composed(name="distiller").get_config()
    assert [v.path for v in short.balance.variables] == [v.path for v in composed().balance.variables]


def test_defaults_are_those_of_the_objects():
    plain, given = Distiller(detector()), Distiller(detector(), objective=Objective())
    assert plain.objective.get_config() == given.objective.get_config()
    assert plain.objective.task == DetectionTask()
    assert plain.balance.get_config() == Balance().get_config()


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        Distiller(detector(), learning_rate=1.0)


@pytest.mark.parametrize(
    ("short", "named"),
    [
        ({"beta": 1.0}, "beta"),
        ({"steps": None, "balance": "fixed"}, "steps, balance"),
        ({"strategies": [SoftClasses()], "gradient_cap": 0.0}, "strategies, gradient_cap"),
    ],
)
def test_both_forms_at_once_are_refused(short, named):
    message = f"objective: expected no arguments of the short form beside it, got {named}. Move them"
    with pytest.raises(MkdError, match=message):
        Distiller(detector(), objective=Objective(), **short)


def test_an_objective_belongs_to_one_distiller():
    objective = Objective()
    Distiller(detector(), objective=objective)
    with pytest.raises(MkdError, match="balance: expected a Balance that no other Distiller has"):
        Distiller(detector(), objective=objective)


def test_a_file_of_a_composed_distiller_is_loaded(trained, tmp_path):
    trained.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    assert again.get_config() == trained.get_config()
    assert evaluated(again) == evaluated(trained)


def as_before_objectives(path, to):
    """Writes a saved distiller the way it was written when a configuration held the short form alone."""
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(to, "w") as written:
        for name in file.namelist():
            data = file.read(name)
            if name == "config.json":
                saved = json.loads(data)
                objective = saved["config"].pop("objective")["config"]
                balance = objective["balance"]["config"]
                saved["config"] |= objective["task"]["config"] | balance
                saved["config"] |= {"strategies": objective["strategies"], "balance": balance["mode"]}
                del saved["config"]["mode"]
                data = json.dumps(saved)
            written.writestr(name, data)


def test_a_file_from_before_objectives_is_loaded(trained, tmp_path):
    trained.save(tmp_path / "distiller.keras")
    as_before_objectives(tmp_path / "distiller.keras", tmp_path / "old.keras")
    again = keras.saving.load_model(tmp_path / "old.keras", safe_mode=True)
    assert again.get_config() == trained.get_config()
    for mine, theirs in zip(trained.variables, again.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert evaluated(again) == evaluated(trained)
