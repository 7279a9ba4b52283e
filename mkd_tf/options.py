"""Options: frozen values, each declared once with its default, its help and what is allowed.

    @dataclasses.dataclass(frozen=True)
    class DrawOptions(Options):
        "What is drawn."

        score_threshold: float = option(0.3, "Lowest score that is drawn.", check=check_fraction)

`flags.run(main, DrawOptions, ...)` makes one flag of every field.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from mkd_tf.checks import check_at_least, check_kind, check_one_of, fail, is_number

FITS = ("stretch", "letterbox")
"""How an image is brought to a model's square input."""
LOWEST_SCORE = 0.01
"""The score below which a detection is not returned, low enough for AP."""
DEFAULT_SCORE = 0.3
"""The score from which detections are shown where a network has no operating point of its own."""


def option(
    default: Any,
    help: str,
    *,
    free: bool = False,
    choices: Sequence[Any] = (),
    check: Callable[[str, Any], None] | None = None,
    needs: str = "",
) -> Any:
    """Declares a field of `Options`.

    Args:
      default: of the type of the field, or None for a number that may be left out; it is always allowed.
      help: one sentence or two. It does not list `choices`: a program's help adds them.
      free: whether it may change between runs of one work directory.
      choices: the other values that are allowed; empty for all.
      check: called with the field's name and value; raises `MkdError` for a wrong one.
      needs: what a value that may not be empty is, as in `a folder`.
    """
    metadata = {"help": help, "free": free, "choices": tuple(choices), "check": check, "needs": needs}
    return dataclasses.field(default=default, metadata=metadata)


def at_least(least: float) -> Callable[[str, Any], None]:
    """Returns a `check` for `option`: not below `least`."""
    return functools.partial(check_at_least, least=least)


@dataclasses.dataclass(frozen=True)
class Options:
    """Values declared with `option`; making them raises `MkdError` for one that is not allowed."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            about, value = field.metadata, getattr(self, field.name)
            default: Any = field.default
            # Without a default a number that may be left out; of several kinds, any of them.
            several = "|" in str(field.type) and default is not None
            if value is not None or default is not None:
                kind = float if default is None or (several and is_number(value)) else type(default)
                check_kind(field.name, value, kind)
            if about["needs"] and not value:
                fail(field.name, expected=about["needs"], got="nothing", do=f"Give --{field.name}=...")
            if about["choices"] and value != field.default:
                check_one_of(field.name, value, about["choices"])
            if about["check"] and value is not None:
                about["check"](field.name, value)
