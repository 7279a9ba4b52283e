"""Notices early in a run that the teacher's terms do harm.

With `--baseline` the same student has been trained alone before, from random weights, on the
same images in as many steps. Its validations are the yardstick: a distilled student that
stays below it, at the same epochs, learns less because of its teacher. What it gains by its
start and what its terms cost count together: with a start from a larger network the guard
sees only harm that outweighs that gain. `mkd ablate` tells the two apart.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MARGIN = 1.0
"""AP below the student alone that counts: single validations differ by less for no reason."""
TIMES = 2
"""How many validations in a row must be that far below."""


def validations(history: Path) -> dict[int, float]:
    """Returns validation AP by epoch of a `history.csv`; nothing where there is no such file."""
    if not history.is_file():
        return {}
    with history.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {int(row["epoch"]): float(row["val_AP"]) for row in rows if row.get("val_AP")}


class HarmGuard:
    """Compares a stage's validations with those of the student alone, and says so once.

    Args:
      alone: validation AP of the student alone, by epoch.
      say: prints a line.
      before: validation AP of this student in epochs before a kill; of these nothing is said again.
    """

    def __init__(
        self,
        alone: Mapping[int, float],
        say: Callable[[str], None],
        before: Mapping[int, float] | None = None,
    ):
        self._alone = alone
        self._say: Callable[[str], None] = lambda text: None
        self._below, self._told = 0, False
        for epoch, value in (before or {}).items():
            self({"epoch": epoch, "val_AP": value})
        self._say = say

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Looks at the row of a finished epoch: `epoch`, and `val_AP` or None."""
        found, alone = row["val_AP"], self._alone.get(row["epoch"])
        if found is None or alone is None:
            return
        self._below = self._below + 1 if found <= alone - MARGIN else 0
        if self._below >= TIMES and not self._told:
            self._told = True
            self._say(
                "student: learns less than without its teacher: validation AP "
                f"{found:.1f} after epoch {row['epoch']}, alone {alone:.1f}. Look at the columns share_* of "
                "history.csv; lower the weight of the term with the largest share, or end it earlier, "
                "in another --workdir."
            )
