"""Scales of a chart's axes: from values to places, and round numbers for ticks."""

import dataclasses
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
      low: value at its beginning.
      high: value at its end, above `low`.
      label: what it shows, with its unit.
      log: whether equal ratios have equal lengths; `low` is then above 0.
    """

    low: float
    high: float
    label: str = ""
    log: bool = False

    def place(self, value: float) -> float:
        """Returns where `value` lies, 0 at the beginning and 1 at the end; limited to these."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """Returns about `count` round values of the axis, powers of ten and their halves where `log`."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            found = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
            inside = [v for v in found if self.low <= v <= self.high * 1.0001]
            if len(inside) > 1:
                return inside[:: math.ceil(len(inside) / (count + 1))]
        step = _step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step + 0.0 for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if rough <= m * power * 1.0001)


def around(values: Iterable[float], label: str = "", zero: bool = False, log: bool = False) -> Scale:
    """Returns a scale that holds the finite ones of `values` with some room, and 0 where `zero`."""
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    if log:
        return Scale(min(known) / 1.25, max(known) * 1.25, label, log=True)
    low, high = min(known), max(known)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    if zero:
        return Scale(min(0.0, low - room if low < 0 else 0.0), max(0.0, high + room), label)
    return Scale(low - room, high + room, label)


def written(value: float) -> str:
    """Returns a tick's value in few characters: `5e-4`, `0.25`, `1500`, `48k`, `1.2M`."""
    for least, divisor, suffix in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / divisor:g}{suffix}"
    if 0 < abs(value) < 0.01:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.6g}"
