"""Two workers stop together and go on after one was killed; `test_distribution`: they compute as one."""

import types

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import from_values
from mkd_tf.training import workers as module
from mkd_tf.training.distribution import check_shareable
from mkd_tf.training.request import Request, Stopped
from mkd_tf.training.workers import Workers
from tests.training import worker_processes

COMPRESS = "Compress in a further run with --distribution=none"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_that_are_stopped_and_killed_end_as_those_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDER", str(tmp_path))
    phases = "whole", "asked", "killed", "again"
    ended = worker_processes.run("tests.training.worker_stage", *phases)
    # SIGTERM to the second one ends both well; of one that was killed the other says so.
    assert ended == {"whole": [0, 0], "asked": [0, 0], "killed": [1, -9], "again": [0, 0]}
    told = {n: (tmp_path / f"{n}.txt").read_text() for n in ("asked0", "asked1", "killed0", "again0")}
    for name in ("asked0", "asked1"):
        assert "stopped by SIGTERM; saved student: step 2 of 3 in epoch 1" in told[name]
    assert "another worker was lost" in told["killed0"]
    assert "student: going on after epoch 1 of 2" in told["again0"]
    whole, torn = ([np.load(tmp_path / f"{n}.worker{i}.npz") for i in (0, 1)] for n in ("whole", "torn"))
    for found in (whole[1], *torn):
        for name in whole[0].files:
            np.testing.assert_array_equal(found[name], whole[0][name])
    rows = [(tmp_path / n / "history.csv").read_text().splitlines() for n in ("whole", "torn")]
    for a, b in zip(*rows, strict=True):
        assert a.split(",")[0] == b.split(",")[0]
    last = [np.array(r[-1].split(",")[:-1], float) for r in rows]  # Without the seconds.
    np.testing.assert_allclose(*last, rtol=0, atol=1e-6)
    assert not list(tmp_path.rglob("*.part")), "a half file is left"


def config(**values):
    return from_values({"distribution": "multi_worker"} | values)


@pytest.mark.parametrize(
    ("option", "value", "do"),
    [
        ("compress", "qat", COMPRESS),
        ("minutes", 5.0, "Set --teacher_epochs"),
        ("teacher", "detections(path='a.json', images='b.json')", "Label the images first"),
        ("replicas", 2, "Leave it out"),
        ("start", "uniform+imitation", "Use another --start"),
    ],
)
def test_what_several_workers_cannot_do_is_refused_by_name(option, value, do):
    with pytest.raises(MkdError, match=f"distribution multi_worker: expected .*, got --{option}. {do}"):
        check_shareable(config(**{option: value}))


def test_other_options_and_one_process_are_not_refused():
    check_shareable(config())
    check_shareable(config(distribution="none", compress="qat"))
    with pytest.raises(MkdError, match="distribution mirrored: expected a start without imitation"):
        check_shareable(config(distribution="mirrored", start="imitation"))
    check_shareable(config(distribution="mirrored", replicas=2))


class Two(Workers):
    """One of two workers; what the other one says is given."""

    def __init__(self, index, other):
        super().__init__()
        self._strategy = types.SimpleNamespace(num_replicas_in_sync=4)
        self.count, self.index, self.other = 2, index, other
        self.said = []

    def of_all(self, number):
        self.said.append(number)
        return [number, self.other] if self.is_chief else [self.other, number]


@pytest.fixture
def request_(monkeypatch):
    made = Request()
    monkeypatch.setattr(module, "REQUEST", made)
    return made


def test_a_batch_is_shared_equally():
    Two(0, 0).check_batch(8)
    Workers().check_batch(7)
    with pytest.raises(
        MkdError, match="a multiple of the 4 replicas on 2 workers, got 10. Set --batch_size=8"
    ):
        Two(0, 0).check_batch(10)


def test_the_chief_works_and_the_others_wait(request_):
    assert Two(0, 0).on_chief(lambda: 5) == 5
    assert Two(1, 0).on_chief(lambda: pytest.fail("it is not the chief")) is None
    assert Workers().on_chief(lambda: 5) == 5


def test_an_error_of_the_chief_ends_the_others(request_):
    chief = Two(0, 0)
    with pytest.raises(ZeroDivisionError):
        chief.on_chief(lambda: 1 / 0)
    assert chief.said == [-1]
    with pytest.raises(MkdError, match="worker 1: the chief ended with an error, see its output"):
        Two(1, -1).on_chief(lambda: 5)


def test_a_signal_to_one_ends_all(request_):
    with pytest.raises(
        Stopped, match="stopped by SIGTERM; what was finished is kept, and the same command on"
    ):
        Two(0, 15).on_chief(lambda: 5)
    request_.number = 15
    chief = Two(0, 0)
    # Within a stage the steps look at it.
    assert chief.on_chief(lambda: 5, stops=False) == 5
    with pytest.raises(Stopped):
        chief.on_chief(lambda: pytest.fail("it was asked to stop"))
    assert chief.said == [0, 15]
    assert Two(1, 2).requested() == 15


def test_a_file_of_the_chief_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "best.keras"
    path.write_bytes(b"new")
    chief = Two(0, 0)
    assert chief.same_file(path) == path
    assert Two(1, chief.said[0]).same_file(path) == path
    monkeypatch.setattr(module, "SECONDS_TO_BE_SEEN", 0)
    with pytest.raises(
        MkdError, match="expected the file that the chief wrote, got another. Put the --workdir"
    ):
        Two(1, 7).same_file(path)
    with pytest.raises(MkdError, match="got none"):
        Two(1, 7).same_file(tmp_path / "none")
    assert Two(1, 0).same_file(tmp_path / "none")
