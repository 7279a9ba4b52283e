"""The tiny family: what the harness does not see."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors import Tiny
from mkd_tf.evaluation.cost import macs

NAMES = ("a", "b", "c")


def test_a_patch_stem_is_one_convolution_over_separate_patches():
    keras.utils.set_random_seed(0)
    core = Tiny(64, NAMES, size="fast").core
    stem = core.get_layer("stem_conv")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    found = keras.Model(core.input, stem.output)(image)
    patches = image.reshape(16, 4, 16, 4, 3).transpose(0, 2, 1, 3, 4).reshape(16, 16, 48)
    expected = patches @ np.asarray(stem.kernel).reshape(48, 16)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert not [layer.name for layer in core.layers if layer.name.startswith("stage2")]


def test_fast_is_a_student_with_less_work():
    student, fast = (Tiny(192, NAMES, size=size) for size in ("student", "fast"))
    assert fast.count_params() < 0.9 * student.count_params()
    assert macs(fast.inference()) < 0.85 * macs(student.inference())


def test_what_a_size_says_can_be_changed():
    made = Tiny(64, NAMES, size="fast", stem="conv", block="residual", widths=(8, 16, 24, 32))
    student = Tiny(64, NAMES)
    assert [v.shape for v in made.variables] == [v.shape for v in student.variables]


def test_a_file_from_before_stems_is_read():
    config = Tiny(64, NAMES).get_config()
    assert config.pop("stem") == "conv"
    assert Tiny.from_config(config).get_config()["stem"] == "conv"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stem": "none"}, "tiny stem: expected one of conv, patch, got 'none'"),
        ({"size": "huge"}, "tiny size: expected one of teacher, guide, student, fast, got 'huge'"),
        ({"block": "dense"}, "tiny block: expected one of residual, plain, single, got 'dense'"),
        ({"widths": (8, 16)}, r"tiny widths: expected four widths.*got \(8, 16\)"),
    ],
)
def test_an_unknown_form_is_told(given, message):
    with pytest.raises(MkdError, match=message):
        Tiny(64, NAMES, **given)
