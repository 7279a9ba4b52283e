"""Options: of their kind, finite, in range and on one line, for every option and every table."""

import dataclasses
import math

import numpy as np
import pytest

from mkd_tf.checks import MkdError, check_at_least, check_fraction, check_kind, check_positive
from mkd_tf.config import from_values, options
from mkd_tf.detectors import DETECTORS
from mkd_tf.options import Options, option
from mkd_tf.strategies import STRATEGIES

NUMBERS = [name for name, field in options().items() if type(field.default) in (int, float)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, "1", True, None])
def test_no_number_of_a_run_may_be_anything_else(value):
    for name in NUMBERS:
        with pytest.raises(MkdError, match=f"^{name}: expected"):
            from_values({name: value})


def test_no_number_of_a_run_may_be_below_zero():
    for name in NUMBERS:
        with pytest.raises(MkdError, match=f"^{name}: expected"):
            from_values({name: type(options()[name].default)(-1)})


def test_text_is_one_line():
    for name, field in options().items():
        if isinstance(field.default, str):
            for value in ("a\nb", "a\0b", 3, None):
                with pytest.raises(MkdError, match=f"^{name}: expected"):
                    from_values({name: value})


def test_a_number_that_may_be_left_out_may_be():
    @dataclasses.dataclass(frozen=True)
    class Given(Options):
        threshold: float | None = option(None, "A threshold.", check=check_fraction)

    assert Given().threshold is None and Given(0.5).threshold == 0.5
    for value in (math.nan, "0.5", 2.0):
        with pytest.raises(MkdError, match="^threshold: expected"):
            Given(value)


def test_numpy_numbers_are_numbers():
    check_kind("n", np.int64(3), int)
    check_kind("x", np.float32(0.5), float)
    for check in (check_positive, check_fraction, lambda n, v: check_at_least(n, v, 0)):
        check("x", np.float32(0.5))
        for value in (math.nan, math.inf, True, "1"):
            with pytest.raises(MkdError, match="^x: expected"):
                check("x", value)


@pytest.mark.parametrize(
    "text", ["1e999", "-1e999", "'a'", "True", "None", "[1]", "(" * 300 + ")" * 300, "-" * 5000 + "1"]
)
def test_the_weight_of_a_strategy_is_a_number(text):
    with pytest.raises(MkdError):
        STRATEGIES.build(f"soft_classes(weight={text})")


@pytest.mark.parametrize(
    "spec",
    ["tiny(widths=3)", "tiny(widths=['a']*4)", "tiny(widths=(8, 8))", "tiny(pyramid='wide')", "tiny(size=3)"],
)
def test_a_network_of_wrong_arguments_is_one_clear_error(spec):
    with pytest.raises(MkdError):
        DETECTORS.build(spec, image_size=32, class_names=("a", "b"))
