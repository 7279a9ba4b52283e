"""A run is stopped after a step, and at once when a term is not finite or nobody waits."""

import os
import signal

import pytest

from mkd_tf.training.request import REQUEST, Request, Stopped
from mkd_tf.training.stopping import Steps, check_finite

NAN = float("nan")


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def steps(saved, per_epoch=5):
    def save(step):
        saved.append(step)
        return f"backup/step_{step}"

    return Steps(save, "student", per_epoch)


@pytest.fixture
def request_(monkeypatch):
    made = Request()
    monkeypatch.setattr("mkd_tf.training.workers.REQUEST", made)
    return made


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_outside_of_a_stage_a_signal_ends_the_run_at_once(request_, number, status):
    handler = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Stopped, match="stopped by SIG.*; what was finished is kept") as caught,
        request_.watched(),
    ):
        signal.signal(number, request_._received)  # Also where this process ignores interrupts.
        ask(number)
    assert caught.value.status == status
    assert signal.getsignal(signal.SIGTERM) is handler


def test_within_a_stage_the_step_is_finished_and_saved(request_):
    saved = []
    callback = steps(saved)
    callback.on_epoch_begin(2)
    with request_.watched(), request_.after_the_step():
        callback.on_train_batch_end(0, {"loss": 1.0})
        ask()
        with pytest.raises(Stopped, match="saved student: step 2 of 5 in epoch 3 in backup/step_2; the same"):
            callback.on_train_batch_end(1, {"loss": 1.0})
    assert saved == [2]


def test_after_the_last_step_the_epoch_ends_first(request_):
    saved = []
    callback = steps(saved)
    callback.first = 3  # Taken by an earlier run.
    callback.on_epoch_begin(2)
    with request_.watched(), request_.after_the_step():
        ask()
        callback.on_train_batch_end(1, {"loss": 1.0})
        with pytest.raises(Stopped, match="saved student: epoch 3; the same command goes on from there"):
            callback.on_epoch_end(2)
    assert not saved


def test_a_second_signal_does_not_wait(request_):
    with request_.watched(), request_.after_the_step():
        ask()
        with pytest.raises(Stopped):
            ask()


def test_the_first_term_that_is_not_finite_is_named():
    check_finite({"loss": 1.0, "class": 2.0}, 1)
    logs = {"loss": NAN, "total": NAN, "class": 1.0, "hint": NAN, "raw_hint": float("inf"), "share_hint": NAN}
    with pytest.raises(FloatingPointError, match="hint is inf after step 7"):
        check_finite(logs, 7)
    with pytest.raises(FloatingPointError, match="box is nan after step 8"):
        check_finite({"loss": NAN, "total": NAN, "box": NAN}, 8)


def test_without_a_request_nothing_is_saved():
    saved = []
    callback = steps(saved)
    callback.on_epoch_begin(0)
    for batch in range(5):
        callback.on_train_batch_end(batch, {"loss": 1.0})
    callback.on_epoch_end(0)
    assert not saved and not REQUEST.number
