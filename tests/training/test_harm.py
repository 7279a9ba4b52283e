"""The guard against harm: when it speaks, and that it speaks once."""

from mkd_tf.training.harm import HarmGuard, validations


def told(found, alone):
    lines = []
    guard = HarmGuard(alone, lines.append)
    for epoch, value in found.items():
        guard({"epoch": epoch, "val_AP": value})
    return lines


def test_it_speaks_once_after_two_validations_that_are_clearly_below():
    alone = {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0}
    (line,) = told({1: 8.9, 2: 18.9, 3: 25.0, 4: 30.0}, alone)
    assert "validation AP 18.9 after epoch 2, alone 20.0" in line


def test_one_bad_validation_or_a_small_difference_is_no_harm():
    alone = {1: 10.0, 2: 20.0, 3: 30.0}
    assert not told({1: 5.0, 2: 20.0, 3: 25.0}, alone)
    assert not told({1: 9.1, 2: 19.1, 3: 29.1}, alone)
    assert not told({1: None, 2: 1.0, 3: 40.0}, alone)
    assert not told({1: 1.0, 2: 1.0}, {})


def test_what_was_before_a_kill_counts_and_is_not_said_again():
    alone, lines = {1: 10.0, 2: 20.0, 3: 30.0}, []
    HarmGuard(alone, lines.append, {1: 5.0})({"epoch": 2, "val_AP": 5.0})
    assert len(lines) == 1
    HarmGuard(alone, lines.append, {1: 5.0, 2: 5.0})({"epoch": 3, "val_AP": 5.0})
    assert len(lines) == 1


def test_validations_are_read_from_a_history(tmp_path):
    path = tmp_path / "history.csv"
    assert validations(path) == {}
    path.write_text("epoch,total,val_AP\n1,3.0,\n2,2.0,12.5\n")
    assert validations(path) == {2: 12.5}
