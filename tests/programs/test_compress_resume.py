"""A compression that is added later and killed ends as one that was asked for at once, bit for bit."""

import json

import pytest

from tests.programs.killing import check_equal_runs, check_equal_weights, kill_in, train, weights

ROLES = ("teacher", "student", "student_qat")
# A hint has an adapter: its initial weights may not hang on what else a process has made.
STRATEGIES = "--strategies=soft_classes, hint(source='teacher', rise=0.1, fall=0.2)"
# What the teacher says is kept over a kill.
CACHE = "--teacher_cache=1"
FLAGS = ("--guide=none", "--teacher_epochs=1", "--student_epochs=1", STRATEGIES, CACHE)
COMPRESS = ("--compress=qat", "--compress_epochs=3")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_killed_compression_goes_on_and_is_done_once(tmp_path):
    flags, whole, torn = (*FLAGS, f"--data_dir={tmp_path / 'data'}"), tmp_path / "whole", tmp_path / "torn"
    told = train(whole, *flags, *COMPRESS)
    for role in ROLES[1:]:
        kept = (
            f"{role}: kept for 1 augmentations of each of 36 images: P3, P4, P5, class_logits of the teacher"
        )
        assert kept in " ".join(told.split())
    train(torn, *flags)
    kill_in("student_qat", torn, *flags, *COMPRESS)
    assert (torn / "student_qat" / "source_cache").stat().st_size > 36_000
    printed = train(torn, *flags, *COMPRESS)
    assert "student: done before" in printed
    assert "student_qat: going on after epoch 1 of 3" in printed
    check_equal_runs(whole, torn, ROLES)
    assert not [*whole.rglob("source_cache"), *torn.rglob("source_cache")], "it ends with its stage"

    # Killed after the last backup and before the end of the stage: nothing is trained again.
    stage = torn / "student_qat"
    before, ended = json.loads((stage / "done.json").read_text()), weights(stage / "final.keras")
    for name in ("done.json", "final.keras", "last.keras"):
        (stage / name).unlink()
    printed = train(torn, *flags, *COMPRESS)
    assert "teacher: done before" in printed
    assert "student_qat: going on after epoch 3 of 3" in printed
    after = json.loads((stage / "done.json").read_text())
    # The archive is written again: its hash is another, its weights are the same.
    again = {"seconds": 0, "weights": ""}
    assert before | again == after | again
    check_equal_weights(weights(stage / "final.keras"), ended, "trained again")
