"""What a compression was begun with: what means the same is no other setting."""

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.training.compression_stage import mean_the_same
from mkd_tf.training.workdir import changed_settings, claim_stage

SETTINGS = {
    "method": "prune(sparsity=0.5)",
    "start": "student",
    "epochs": 2,
    "strategies": "soft_classes, soft_boxes(weight=2.0)",
    "learning_rate": 1e-3,
}


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("method", "prune", True),
        ("method", "prune( layout='erk',sparsity=0.5 )", True),
        ("method", "prune(sparsity=0.6)", False),
        ("method", "cluster", False),
        ("method", "squash", False),
        ("strategies", "soft_classes,soft_boxes( weight=2 )", True),
        ("strategies", "soft_boxes(weight=2.0), soft_classes", False),
        ("strategies", "", False),
        ("epochs", 3, False),
        ("learning_rate", 0.001, True),
        ("start", "student_prune", False),
    ],
)
def test_what_means_the_same(tmp_path, key, value, same):
    claim_stage(tmp_path, SETTINGS, mean_the_same)
    changed = SETTINGS | {key: value}
    told = changed_settings(tmp_path, changed, mean_the_same)
    assert told == ([] if same else [f"{key} was {SETTINGS[key]!r}, is {value!r}"])
    if same:
        claim_stage(tmp_path, changed, mean_the_same)
    else:
        with pytest.raises(MkdError, match="begun with other settings .*delete the folder"):
            claim_stage(tmp_path, changed, mean_the_same)


def test_a_stage_that_was_not_begun_has_no_other_settings(tmp_path):
    assert changed_settings(tmp_path, SETTINGS, mean_the_same) == []
