"""Is an arm better than its control? Paired differences with intervals, and a verdict by rule.

Two sources of chance are resampled together: images, which are the same for all seeds, and
seeds, within groups that share a teacher. One draw chooses images with replacement, then
groups, then seeds within each; its value is the mean over the chosen seeds of the
difference in AP on the chosen images (Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8).

Departure: the few seeds there are make percentiles too narrow, by a factor of 0.6 at five
seeds. The part of a draw that comes from the choice of seeds is therefore stretched so that
seeds alone would give the interval of the t distribution (Hesterberg, "What Teachers Should
Know About the Bootstrap", The American Statistician 69, 2015, section 5.3).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from mkd_tf.checks import check_shape
from mkd_tf.experiments.spec import Rule

BETTER, WORSE, NO_BETTER, MORE_SEEDS = "better", "worse", "no better", "more seeds"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An arm against its control, over the seeds that both have.

    Attributes:
      seeds: number of pairs.
      teachers: number of teachers behind them.
      difference: mean of arm minus control, in AP.
      interval: of the hierarchical bootstrap; None with fewer seeds than the rule asks for.
      t_interval: of the paired t test; None as well.
      p: of the paired t test; None as well.
      verdict: by the rule.
    """

    seeds: int
    teachers: int
    difference: float
    interval: tuple[float, float] | None
    t_interval: tuple[float, float] | None
    p: float | None
    verdict: str


def image_weights(images: int, draws: int, seed: int = 0) -> np.ndarray:
    """Returns how often each image is chosen in each draw, `[draws, images]`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), draws)


def seed_weights(groups: Sequence[Sequence[int]], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the share of each seed in each draw, `[draws, S]`, summing to 1.

    Args:
      groups: positions 0..S-1 of the seeds that share a teacher.
      draws: number of draws.
      rng: source of chance.
    """
    weights = np.zeros((draws, sum(len(group) for group in groups)))
    for _ in groups:
        chosen = rng.integers(len(groups), size=draws)
        for index, group in enumerate(groups):
            rows, count = np.flatnonzero(chosen == index), len(group)
            weights[np.ix_(rows, np.asarray(group))] += rng.multinomial(
                count, np.full(count, 1 / count), len(rows)
            )
    return weights / weights.sum(axis=1, keepdims=True)


def widening(seeds: int, level: float) -> float:
    """Returns by how much the bootstrap over `seeds` values has to be stretched to be as wide as t's."""
    tail = (1 + level) / 2
    return float(np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(tail, seeds - 1) / stats.norm.ppf(tail))


def bootstrap_interval(
    differences: np.ndarray, groups: Sequence[Sequence[int]], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Returns the interval of the mean difference.

    Args:
      differences: `[S, B]`, the difference of each seed on the images of each draw; a column
        is NaN where a draw has no object.
      groups: positions of the seeds that share a teacher; all in one for one teacher.
      level: of the interval.
      seed: of the choice of seeds.
    """
    count = len(differences)
    check_shape("differences", differences.shape, (sum(len(group) for group in groups), None))
    weights = seed_weights(groups, differences.shape[1], np.random.default_rng(seed))
    of_images = differences.mean(axis=0)
    of_both = np.einsum("bs,sb->b", weights, differences)
    values = of_images + widening(count, level) * (of_both - of_images)
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_t(arm: np.ndarray, control: np.ndarray, level: float = 0.95) -> tuple[tuple[float, float], float]:
    """Returns the interval of the mean difference by the paired t test, and its p-value."""
    differences = arm - control
    if np.ptp(differences) < 1e-9:  # SciPy divides by a spread of 0.
        mean = float(differences.mean())
        return (mean, mean), float(abs(mean) < 1e-9)
    found = stats.ttest_rel(arm, control)
    low, high = found.confidence_interval(level)
    return (float(low), float(high)), float(found.pvalue)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Returns p-values adjusted for testing several arms (Holm 1979, step-down Bonferroni)."""
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for place, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - place) * p))
        adjusted[name] = highest
    return adjusted


def verdict(difference: float, interval: tuple[float, float] | None, rule: Rule) -> str:
    """Returns what the rule says of a mean difference and its interval."""
    if interval is None:
        return MORE_SEEDS
    low, high = interval
    if difference >= rule.margin and low > 0:
        return BETTER
    if difference <= -rule.margin and high < 0:
        return WORSE
    return NO_BETTER if abs(difference) < rule.margin and low <= 0 <= high else MORE_SEEDS


def gap_closed(arm: float, control: float, reference: float) -> float | None:
    """Returns which share of the way from control to reference an arm goes; None where there is no way up."""
    return (arm - control) / (reference - control) if reference > control else None


def compare(
    arm: np.ndarray,
    control: np.ndarray,
    resampled: np.ndarray,
    groups: Sequence[Sequence[int]],
    rule: Rule,
) -> Comparison:
    """Compares an arm with its control.

    Args:
      arm: `[S]` AP of the arm's cells.
      control: `[S]` AP of the control's cells with the same seeds.
      resampled: `[S, B]` their differences on resampled images.
      groups: positions of the seeds that share a teacher.
      rule: of the verdict.
    """
    difference = float(np.mean(arm - control))
    interval = t_interval = p = None
    if len(arm) >= rule.least_seeds:
        interval = bootstrap_interval(resampled, groups, rule.level)
        t_interval, p = paired_t(arm, control, rule.level)
    judged = verdict(difference, interval, rule)
    return Comparison(len(arm), len(groups), difference, interval, t_interval, p, judged)
