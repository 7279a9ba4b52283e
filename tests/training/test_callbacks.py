"""Averaged weights against a slow average; the end of an epoch, in order, and killed."""

import csv
import types

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors import DETECTORS
from mkd_tf.detectors.files import load_detector
from mkd_tf.training.backup import load_backup
from mkd_tf.training.callbacks import StageRecord, WeightAveraging


class Counter(keras.layers.Layer):
    """A layer with a counter, as seeds of dropout are."""

    def __init__(self):
        super().__init__()
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x):
        return x


def small():
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization(), Counter()]
    )


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_against_a_slow_one(decay):
    rng = np.random.default_rng(0)
    raw, averaged = small(), small()
    averaged.set_weights(raw.get_weights())
    expected = [np.array(w, "float64") for w in raw.get_weights()]
    callback = WeightAveraging(raw, averaged, decay)
    callback.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=0)))
    for step in range(1, 13):
        drawn = [
            rng.normal(size=w.shape) if w.dtype != "int32" else np.int32(step) for w in raw.get_weights()
        ]
        raw.set_weights(drawn)
        callback.model.optimizer.iterations = step
        callback.on_train_batch_end(step)
        # 2/11 after the first step, 3/12 after the second, ...
        keep = min(decay, (1 + step) / (10 + step))
        expected = [keep * e + (1 - keep) * d for e, d in zip(expected, drawn, strict=True)]
        for found, drawn_value in zip(raw.get_weights(), drawn, strict=True):
            np.testing.assert_allclose(found, drawn_value, rtol=1e-6, err_msg="the raw weights must stay")
    for found, value, variable in zip(averaged.get_weights(), expected, averaged.weights, strict=True):
        if variable.dtype == "int32":
            assert found == 12
        else:
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)


def test_forms_that_differ_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        WeightAveraging(small(), keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), 0.9)


class Validation:
    """Gives the next of some APs, and notes when it was asked."""

    def __init__(self, *aps):
        self.aps, self.calls, self.runners = list(aps), 0, []

    def evaluate(self, runner, class_names):
        assert class_names == ("a", "b")
        self.calls += 1
        self.runners.append(runner)
        return {"AP": self.aps.pop(0)}


class Stage:
    """What a stage holds, without a training: variables that change at each epoch."""

    def __init__(self, folder, *aps, epochs=5, eval_every=2):
        keras.utils.set_random_seed(0)
        self.network = DETECTORS.build(
            "tiny(widths=(4, 4, 4, 4), pyramid=4, block='plain', tower=0)",
            image_size=32,
            class_names=("a", "b"),
        )
        self.optimizer = keras.optimizers.SGD(0.5)
        self.optimizer.build([])
        self.validation, self.reported = Validation(*aps), []
        owners = {"averaged": self.network.variables, "optimizer": self.optimizer.variables}
        self.record = StageRecord(
            folder, self.network, self.validation, eval_every, epochs, owners, self.reported.append
        )
        self.record.set_model(types.SimpleNamespace(optimizer=self.optimizer))

    def epoch(self, number, total=1.0, value=None):
        for variable in self.network.variables:
            variable.assign(np.full(variable.shape, number if value is None else value, "float32"))
        self.record.on_epoch_end(number - 1, {"total": total / number, "class": 0.5})

    def level(self):
        return float(np.array(self.network.variables[0]).reshape(-1)[0])


def test_best_is_the_best_and_history_has_every_epoch(tmp_path):
    stage = Stage(tmp_path, 10.0, 30.0, 20.0)
    for number in range(1, 6):
        stage.epoch(number)
    # Asked at every second epoch and at the last.
    assert stage.validation.calls == 3
    assert (stage.record.best, stage.record.best_epoch) == (30.0, 4)
    best = load_detector(tmp_path / "best.keras")
    assert all((np.array(v) == 4).all() for v in best.variables)
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["val_AP"] for row in rows] == ["", "10.0", "", "30.0", "20.0"]
    assert [float(row["total"]) for row in rows] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert rows[0]["learning_rate"] == "0.5"
    assert stage.reported == stage.record.rows
    assert sorted(p.name for p in (tmp_path / "backup").iterdir()) == ["epoch_000004", "epoch_000005"]


def test_what_ships_is_validated_and_kept(tmp_path, monkeypatch):
    stage, other = Stage(tmp_path, 10.0, 20.0, eval_every=1), Stage(tmp_path).network
    for variable in other.variables:
        variable.assign(np.full(variable.shape, 7, "float32"))
    monkeypatch.setattr(stage.network, "shipped", lambda: other)
    stage.epoch(1)
    stage.epoch(2)
    image = np.zeros((1, 32, 32, 3), "float32")
    expected = other.inference().predict(image, verbose=0)
    for runner in stage.validation.runners:
        np.testing.assert_allclose(runner._forward(image)["class_logits"], expected["class_logits"])
    best = load_detector(tmp_path / "best.keras")
    assert all((np.array(v) == 7).all() for v in best.variables)


def test_a_network_that_ships_as_it_is_is_traced_once(tmp_path):
    stage = Stage(tmp_path, 10.0, 20.0, eval_every=1)
    stage.epoch(1)
    stage.epoch(2)
    first, second = stage.validation.runners
    assert first is second


def test_the_first_of_equals_stays_and_zero_counts(tmp_path):
    stage = Stage(tmp_path, 0.0, 0.0, eval_every=1)
    stage.epoch(1)
    stage.epoch(2)
    assert stage.record.best_epoch == 1
    assert (tmp_path / "best.keras").exists()


def test_a_resumed_stage_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = Stage(tmp_path / "whole", 10.0, 30.0, 20.0)
    for number in range(1, 6):
        whole.epoch(number)
    first = Stage(tmp_path / "killed", 10.0)
    for number in (1, 2):
        first.epoch(number)
    # A kill in the third epoch: what it wrote beside does not count.
    (tmp_path / "killed" / "backup" / "epoch_000003.part").mkdir()
    second = Stage(tmp_path / "killed", 30.0, 20.0)
    assert second.level() != 2
    assert second.record.restore(load_backup(tmp_path / "killed" / "backup")) == 2
    assert second.level() == 2
    assert second.record.seconds >= first.record.rows[-1]["seconds"]
    for number in (3, 4, 5):
        second.epoch(number)

    def told(stage):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in stage.record.rows]

    assert told(second) == told(whole)
    assert (second.record.best, second.record.best_epoch) == (30.0, 4)


def test_steps_of_an_epoch_are_saved_with_the_means_of_its_row(tmp_path):
    stage, mean = Stage(tmp_path, 10.0), keras.metrics.Mean("total")
    stage.record.model.metrics = [mean]
    stage.epoch(1)
    mean.update_state(3.0)
    where = stage.record.save_step(7)
    assert where == str(tmp_path / "backup" / "epoch_000001_step_000007")
    mean.reset_state()
    assert stage.record.restore(load_backup(tmp_path / "backup")) == 1
    assert stage.record.step == 7
    stage.record.on_epoch_begin(1)
    assert float(mean.result()) == 3.0
    mean.reset_state()
    stage.record.on_epoch_begin(2)
    assert float(mean.result()) == 0.0


def test_a_variable_that_is_not_finite_is_not_saved(tmp_path):
    stage = Stage(tmp_path, 10.0, 20.0)
    stage.epoch(1)
    with pytest.raises(FloatingPointError, match="the variable averaged/0 is not finite after epoch 2"):
        stage.epoch(2, value=np.nan)
    assert load_backup(tmp_path / "backup").state["epoch"] == 1


@pytest.mark.parametrize("total", [float("nan"), float("inf")])
def test_an_infinite_loss_stops_before_anything_is_written(tmp_path, total):
    stage = Stage(tmp_path, 10.0)
    stage.epoch(1)
    with pytest.raises(FloatingPointError, match="the loss became .* in epoch 2"):
        stage.epoch(2, total)
    assert load_backup(tmp_path / "backup").state["epoch"] == 1
    assert len(stage.reported) == 1


def test_a_backup_of_another_network_is_told(tmp_path):
    stage = Stage(tmp_path)
    stage.epoch(1)
    other = Stage(tmp_path)
    other.record._owners["averaged"] = other.network.variables[:-1]
    with pytest.raises(MkdError, match="backup .*variables of this configuration"):
        other.record.restore(load_backup(tmp_path / "backup"))


def test_where_nothing_can_be_found_the_last_is_kept(tmp_path):
    stage = Stage(tmp_path, None, None, epochs=4)
    for number in range(1, 5):
        stage.epoch(number)
    assert (stage.record.best, stage.record.best_epoch) == (-1.0, 4)
    assert all((np.array(v) == 4).all() for v in load_detector(tmp_path / "best.keras").variables)
    assert [row["val_AP"] for row in stage.record.rows] == [None] * 4
