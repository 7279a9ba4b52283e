"""Limits of what a network's arguments may ask for: of a flag, a call, or a file of somebody else.

A file of a detector holds the arguments that rebuild it. Without limits a file of 1 kB could
take all memory, and an argument that names weights could open any path or address.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import check_kind, fail

BOUNDS: dict[str, tuple[float, float]] = {
    "image_size": (32, 4096),
    "widths": (1, 2048),
    "width": (0.01, 4),
    "alpha": (0.01, 4),
    "pyramid": (1, 1024),
    "tower": (0, 8),
    "bins": (0, 64),
    "anchor_scale": (0.1, 64),
    "prior": (1e-6, 0.9),
}
"""Smallest and largest value of a number, or of each of a list of them."""
MOST_CLASSES, LONGEST_NAME = 10_000, 200
READ_ONCE = ("backbone_weights",)
"""Arguments that name what is read when a network is built for training: never a part of a file."""


def check_form(name: str, arguments: Mapping[str, Any]) -> None:
    """Raises `MkdError` for a detector's argument beyond its limits, before anything is built."""
    for argument, (least, most) in BOUNDS.items():
        given = arguments.get(argument)
        for value in given if isinstance(given, (list, tuple)) else [given]:
            if value is None:
                continue
            where = f"{name} {argument}" if argument != "image_size" else argument
            check_kind(where, value, float)
            if not least <= value <= most:
                do = "Choose a value within these limits."
                fail(where, expected=f"{least:g} to {most:g}", got=repr(value), do=do)
    check_class_names(arguments.get("class_names", ()))


def check_class_names(names: Sequence[str]) -> None:
    """Raises `MkdError` unless there are few enough classes, each with a short name."""
    expected = f"at most {MOST_CLASSES:,} classes, each of at most {LONGEST_NAME} letters"
    if isinstance(names, str) or len(names) > MOST_CLASSES:
        fail("class_names", expected=expected, got=f"{len(names):,} of them", do="Give a list of names.")
    wrong = [n for n in names if not isinstance(n, str) or len(n) > LONGEST_NAME]
    if wrong:
        fail("class_names", expected=expected, got=repr(wrong[0])[:60], do="Shorten the name.")


def check_file_form(name: str, arguments: Mapping[str, Any]) -> None:
    """Raises `MkdError` if a file asks to read another one."""
    named = [argument for argument in READ_ONCE if arguments.get(argument)]
    if named:
        fail(
            f"{named[0]} in the file of {name}",
            expected="none: a file holds its weights",
            got=repr(arguments[named[0]])[:60],
            do="Do not load this file: it was not written by this program.",
        )


def check_weights(path: str | Path, variables: Sequence[Any]) -> None:
    """Raises `MkdError` for a variable that holds NaN or infinity."""
    for variable in variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            fail(
                f"model {path}",
                expected="finite weights",
                got=f"NaN or infinity in {variable.path}",
                do="Train it again, or take an earlier file.",
            )
