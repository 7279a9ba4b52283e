"""Shapes and types of the method's functions are checked in the tests, and only there."""

import subprocess
import sys

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mkd_tf.detection import boxes, losses, postprocess, targets
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.strategies import attention_map, hint, localization, soft_targets

ONES = {n: np.ones(n, "float32") for n in (84, 85)}
LOGITS = np.zeros((2, 84, 3), "float32")


def grid(*shape):
    return np.zeros(shape, "float32")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: boxes.decode(grid(2, 84, 4), grid(85, 4)), "anchors"),
        (lambda: boxes.iou(grid(2, 5), grid(2, 4)), "a"),
        (lambda: losses.distribution_focal(grid(2, 84, 4), grid(2, 84, 8)), "logits"),
        (lambda: targets.assign(grid_anchors(64), grid(2, 5, 4), grid(2, 5), grid(2, 5), 3), "labels"),
        (lambda: postprocess.select(grid(84), grid(84, 4)), "scores"),
        (lambda: Anchors(grid(84, 4).astype("int32"), (84,), 64), "boxes"),
        (lambda: attention_map.attention_map(grid(2, 4, 4, 3), weights=grid(2, 15, 1)), "weights"),
        (lambda: hint.hint_loss(grid(2, 4, 4, 3), grid(2, 4, 5, 3), grid(2, 16, 1)), "source_features"),
        (lambda: soft_targets.soft_class_loss(LOGITS, LOGITS[..., :2], ONES[84]), "source_logits"),
        (lambda: soft_targets.soft_class_loss(LOGITS, LOGITS, ONES[85]), "matched"),
        (
            lambda: localization.localization_loss(grid(2, 84, 4, 8), grid(2, 84, 4, 5), LOGITS, ONES[84]),
            "source_logits",
        ),
    ],
)
def test_a_wrong_shape_is_refused(call, argument):
    with pytest.raises(TypeCheckError, match=f"problem arose whilst typechecking parameter '{argument}'"):
        call()


def test_a_wrong_result_is_refused(monkeypatch):
    monkeypatch.setattr(boxes, "giou", lambda a, b: a)
    with pytest.raises(TypeCheckError, match="checking the return value of mkd_tf.detection.losses"):
        losses.giou_loss(grid(2, 4), grid(2, 4))


def test_users_pay_nothing():
    """Outside of the tests a function is the plain one, and no checker is imported."""
    code = (
        "import sys, mkd_tf; from mkd_tf.detection.boxes import decode; "
        "print(hasattr(decode, '__wrapped__'), 'beartype' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["False", "False"]
