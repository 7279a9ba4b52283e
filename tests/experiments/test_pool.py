"""A job's folder belongs to the flags that it was begun with, those that nobody gave included."""

from pathlib import Path

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import from_values
from mkd_tf.experiments.grid import Job
from mkd_tf.experiments.pool import check_identity, is_done
from mkd_tf.training.workdir import TAKEN, as_flagfile
from tests.experiments import fake_training


def begun(tmp_path, **values):
    """A job with the flags of `values`, whose folder was begun with today's defaults."""
    job = Job("cells/a", {name: str(value) for name, value in values.items()})
    check_identity(tmp_path, job)
    (tmp_path / job.name / "flags.cfg").write_text(as_flagfile(from_values(values)))
    check_identity(tmp_path, job)
    return job


def test_the_stand_in_says_of_a_taken_folder_what_training_says():
    """`pool` looks for these words: without them a folder that another shard trains in has failed."""
    assert TAKEN in Path(fake_training.__file__).read_text()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seed": ', b"\xff", b"[" * 100_000])
def test_a_damaged_folder_is_told(tmp_path, content):
    job = begun(tmp_path)
    (tmp_path / job.name / "job.json").write_bytes(content)
    with pytest.raises(MkdError, match=r"job.json: expected the flags of a cell, got a damaged file"):
        check_identity(tmp_path, job)
    (tmp_path / job.name / "results.json").write_bytes(content)
    assert not is_done(tmp_path, job)


def test_flags_and_defaults_of_another_time_are_named(tmp_path):
    job = begun(tmp_path, learning_rate=1.6e-2)
    with pytest.raises(MkdError, match="--learning_rate was '0.016', is '0.1'"):
        check_identity(tmp_path, Job(job.name, {"learning_rate": "0.1"}))
    stored = tmp_path / job.name / "flags.cfg"
    text = stored.read_text()
    stored.write_text(text.replace("--teacher_boxes_iou=0.6", "--teacher_boxes_iou=1.0"))
    with pytest.raises(MkdError, match="--teacher_boxes_iou was '1.0', is '0.6'.*give these flags"):
        check_identity(tmp_path, job)
    stored.write_text(text.replace("--student_init=auto\n", ""))
    with pytest.raises(MkdError, match="--student_init was not there, is 'auto'"):
        check_identity(tmp_path, job)


def test_where_it_is_shown_and_kept_does_not_matter(tmp_path):
    job = begun(tmp_path)
    stored = tmp_path / job.name / "flags.cfg"
    stored.write_text(stored.read_text().replace("--tensorboard=true", "--tensorboard=false"))
    check_identity(tmp_path, job)
