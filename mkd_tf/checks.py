"""Checks of arguments, and the error type for mistakes of the user.

A message says where, what was expected, what was received and what to do. The caller
passes the name to use in it.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NoReturn

LARGEST_NUMBER = 2**53
"""The largest number of an option: floats hold no larger integers, and nothing here needs one."""


class MkdError(ValueError):
    """A mistake in the input, described in one line. Programs print it without a traceback.

    Example:
      >>> import mkd_tf
      >>> try:
      ...     mkd_tf.Tiny(image_size=100, class_names=("cat", "dog"))
      ... except mkd_tf.MkdError as error:
      ...     print(error)
      image_size: expected a positive multiple of 32 px, got 100. Use for example 96.

    Attributes:
      reason: the message without what to do, for programs that go on.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason or message


def fail(where: str, *, expected: str, got: str, do: str) -> NoReturn:
    """Raises `MkdError` in the house's form: where, expected, got, what to do."""
    reason = f"{where}: expected {expected}, got {got}"
    raise MkdError(f"{reason}. {do}", reason)


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number of at most `LARGEST_NUMBER`, and no truth value."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value) and abs(value) <= LARGEST_NUMBER


def check_kind(name: str, value: Any, kind: type) -> None:
    """Raises `MkdError` unless `value` is of `kind`: bool, int, float or str; a number is finite."""
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    if kind is float:
        good = is_number(value)
    elif kind is int:
        good = isinstance(value, Integral) and is_number(value)
    else:
        good = isinstance(value, kind)
    if not good:
        shown = repr(value)
        got = shown if len(shown) < 60 else f"{shown[:50]}..."
        fail(name, expected=words.get(kind, kind.__name__), got=got, do=f"Correct {name}.")
    if kind is str and not value.isprintable():
        do = f"Remove line breaks and control characters from {name}."
        fail(name, expected="one line of text", got=repr(value)[:60], do=do)


def check_positive(name: str, value: float) -> None:
    """Raises `MkdError` unless `value` is above zero."""
    if not (is_number(value) and value > 0):
        fail(name, expected="a number above 0", got=repr(value), do=f"Set {name} to a positive number.")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises `MkdError` unless `value` is at least `least`."""
    if not (is_number(value) and value >= least):
        fail(name, expected=f"{least} or more", got=repr(value), do=f"Raise {name}.")


def check_fraction(name: str, value: float) -> None:
    """Raises `MkdError` unless `value` lies in 0..1."""
    if not (is_number(value) and 0 <= value <= 1):
        fail(name, expected="a number from 0 to 1", got=repr(value), do=f"Set {name} within 0..1.")


def check_one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises `MkdError` unless `value` is one of `allowed`."""
    if value not in allowed:
        choices = ", ".join(str(a) for a in allowed)
        fail(name, expected=f"one of {choices}", got=repr(value), do=f"Choose one of them for {name}.")


def check_shape(name: str, shape: Sequence[int | None], expected: Sequence[int | None]) -> None:
    """Raises `MkdError` unless `shape` fits `expected`, where None fits any size."""
    fits = len(shape) == len(expected) and all(
        e is None or s is None or s == e for s, e in zip(shape, expected, strict=True)
    )
    if not fits:
        fail(name, expected=f"shape {list(expected)}", got=f"shape {list(shape)}", do=f"Reshape {name}.")


def check_no_clash(name: str, expected: str, clashes: Mapping[str, bool]) -> None:
    """Raises `MkdError` if an option does not go with another: with the first of `clashes` that holds."""
    got = [text for text, holds in clashes.items() if holds]
    if got:
        fail(name, expected=expected, got=got[0], do="Leave one of the two out.")
