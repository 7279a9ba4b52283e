"""A run that is killed in every stage ends as one that was left alone, bit for bit; programs then use it."""

import re
import signal

import pytest

from mkd_tf import schemas
from mkd_tf.schemas.deployment import SuiteFile
from mkd_tf.schemas.inspection import AdviceFile, InspectionFile, ReviewFile
from mkd_tf.schemas.training import StageFile
from tests.programs import written
from tests.programs.killing import MENDED, NET, check_equal_runs, damage, kill_in, train

ROLES = ("teacher", "guide", "student_alone", "student")
FLAGS = (
    f"--guide={NET}",
    "--teacher_epochs=3",
    "--guide_epochs=3",
    "--student_epochs=3",
    "--strategies=soft_classes, soft_boxes, layer_relation, attention_map, hint(rise=0.2, fall=0.2)",
    "--baseline",
)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_in_each_stage_and_resumed_equals_uninterrupted(tmp_path):
    flags, whole, torn = (*FLAGS, f"--data_dir={tmp_path / 'data'}"), tmp_path / "whole", tmp_path / "torn"
    train(whole, *flags)
    kill_in("teacher", torn, *flags)
    # Asked to end, it finishes the step, saves it and says so.
    for role, how in (("guide", signal.SIGTERM), ("student_alone", signal.SIGINT)):
        last = kill_in(role, torn, *flags, how=how)
        assert re.match(
            rf"stopped by {how.name}; saved {role}: .*; the same command goes on from there", last
        )
    kill_in("student", torn, *flags)
    printed = train(torn, *flags)
    for role in ROLES[:-1]:
        assert f"{role}: done before" in printed
    assert "student: going on after epoch 1 of 3" in printed
    check_equal_runs(whole, torn, ROLES)

    # Nor does damage end it: what can be is made again, and is the same.
    damage(torn, "student_alone", "student")
    printed = " ".join(train(torn, *flags).split())
    for words in MENDED:
        assert re.search(words.format(finished="student_alone", last="student"), printed), words
    check_equal_runs(whole, torn, ROLES)

    # A work directory with every role, and the time that it takes to train one: used once more.
    files = written.use(whole, tmp_path)
    # Of compression, --minutes, inspect_data, and benchmark --suite.
    elsewhere = {StageFile, AdviceFile, InspectionFile, ReviewFile, SuiteFile}
    assert set(files.values()) == set(schemas.FILES) - elsewhere
    written.check(files | written.records_in(torn))
    assert written.missing_keys(files) == set()
