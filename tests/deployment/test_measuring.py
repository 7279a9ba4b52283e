"""The verdict on a file: under both fits, and told with the fit that lost more."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.deployment.measuring import loses_too_much, refuse_rejected, score_error


@pytest.mark.parametrize(
    ("drop", "other", "rejected"),
    [
        (0.5, 0.5, False),
        (2.0, 2.0, False),
        (2.1, 0.0, True),
        (0.0, 2.1, True),
        (None, 0.0, True),
        (0.0, None, True),
        (-3.0, -1.0, False),
    ],
)
def test_a_loss_under_either_fit_rejects(drop, other, rejected):
    assert loses_too_much({"AP": 1.0, "AP_drop": drop, "AP_drop_letterbox": other}, 2.0) is rejected


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"AP_drop": 3.0, "AP_drop_letterbox": 1.0}, "a.tflite lost 3.00 AP; at most 2"),
        (
            {"AP_drop": 0.1, "AP_drop_letterbox": 4.2},
            "a.tflite lost 4.20 AP in images fitted by letterbox; at most 2",
        ),
        (
            {"AP_drop": 0.1, "AP_drop_stretch": 4.2},
            "a.tflite lost 4.20 AP in images fitted by stretch; at most 2",
        ),
    ],
)
def test_the_larger_loss_is_told_with_its_fit(entry, told):
    with pytest.raises(MkdError, match=told):
        refuse_rejected("w", {"a.tflite": entry | {"verdict": "rejected"}}, 2.0)


def test_the_score_error_is_of_scores_that_are_shown():
    expected = {"scores": np.float64([[0.1, 0.3], [0.9, 0.2]])}
    found = {"scores": np.float64([[0.6, 0.34], [0.8, 0.9]])}
    told = score_error(found, expected)
    assert told["mean"] == pytest.approx(0.07) and told["max"] == pytest.approx(0.1)
    assert score_error(found, {"scores": expected["scores"] / 10}) is None
