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
    """Returns validation AP by epoch of a `history.csv`; nothing where there is no such file.

    Nor of a damaged one: the backup holds the rows, and the next epoch writes them again.
    """
    try:
        with history.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return {int(row["epoch"]): float(row["val_AP"]) for row in rows if row.get("val_AP")}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


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
        self._alone, self._say = alone, say
        self._below = 0
        self._told = False
        for epoch, value in (before or {}).items():
            self._told |= self._is_harm(epoch, value)

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Looks at the row of a finished epoch: `epoch`, and `val_AP` or None."""
        epoch, found = row["epoch"], row["val_AP"]
        if found is not None and self._is_harm(epoch, found) and not self._told:
            self._told = True
            self._say(
                "student: learns less than without its teacher: validation AP "
                f"{found:.1f} after epoch {epoch}, alone {self._alone[epoch]:.1f}. "
                "Look at the columns share_* of history.csv; lower the weight of the term with the largest "
                "share, or end it earlier, in another --workdir."
            )

    def _is_harm(self, epoch: int, found: float) -> bool:
        """Counts a validation; returns whether it is one too many in a row that is clearly below."""
        if epoch not in self._alone:
            return False
        self._below = self._below + 1 if found <= self._alone[epoch] - MARGIN else 0
        return self._below >= TIMES
