"""Statistics: values by hand, slow references, and how often intervals hold the truth."""

import numpy as np
import pytest
from scipy import stats

from mkd_tf.experiments import statistics
from mkd_tf.experiments.spec import Rule


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.5 * 1; none below the one before.
    found = statistics.holm({"a": 0.03, "b": 0.01, "c": 0.5, "d": 0.02, "e": None})
    assert found == {
        "b": pytest.approx(0.04),
        "d": pytest.approx(0.06),
        "a": pytest.approx(0.06),
        "c": pytest.approx(0.5),
        "e": None,
    }
    assert statistics.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert statistics.holm({}) == {}


def test_paired_t_by_hand():
    arm, control = np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 3.0])
    # Differences 2, 3, 1: mean 2, standard error 1 / sqrt(3); t of 2 degrees at 0.975 is 4.3027.
    (low, high), p = statistics.paired_t(arm, control)
    assert (low, high) == (
        pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-4),
        pytest.approx(2 + 4.30265 / 3**0.5, abs=1e-4),
    )
    assert p == pytest.approx(2 * stats.t.sf(2 * 3**0.5, 2))


def test_paired_t_of_equal_differences():
    arm = np.array([1.0, 2.0, 3.0])
    assert statistics.paired_t(arm, arm) == ((0.0, 0.0), 1.0)
    assert statistics.paired_t(arm + 1, arm) == ((1.0, 1.0), 0.0)


@pytest.mark.parametrize(
    ("difference", "interval", "expected"),
    [
        (0.3, (0.01, 0.6), "better"),
        (0.29, (0.01, 0.6), "more seeds"),
        (1.0, (-0.1, 2.0), "more seeds"),
        (0.1, (-0.5, 0.7), "no better"),
        (-0.3, (-0.6, -0.01), "worse"),
        (-1.0, (-2.0, 0.1), "more seeds"),
        (5.0, None, "more seeds"),
    ],
)
def test_verdicts_by_the_rule(difference, interval, expected):
    assert statistics.verdict(difference, interval, Rule()) == expected


def test_a_rule_of_ones_own():
    assert statistics.verdict(0.5, (0.1, 0.9), Rule(margin=1.0)) == "more seeds"
    assert "+1 AP and the 90 % interval" in str(Rule(margin=1.0, level=0.9))


def test_gap_closed():
    assert statistics.gap_closed(25.0, 20.0, 40.0) == 0.25
    assert statistics.gap_closed(15.0, 20.0, 40.0) == -0.25
    assert statistics.gap_closed(25.0, 20.0, 20.0) is None


def slow_seed_weights(groups, draws, rng):
    """The mean over chosen seeds, by loops: groups with replacement, then seeds within each."""
    rows = []
    for _ in range(draws):
        chosen = []
        for _ in groups:
            group = groups[rng.integers(len(groups))]
            chosen += [group[rng.integers(len(group))] for _ in group]
        rows.append([chosen.count(s) / len(chosen) for s in range(sum(map(len, groups)))])
    return np.array(rows)


@pytest.mark.parametrize("groups", [[[0, 1, 2, 3]], [[0], [1], [2]], [[0, 2, 4], [1, 3]]])
def test_seed_weights_have_the_distribution_of_a_slow_reference(groups):
    fast = statistics.seed_weights(groups, 6000, np.random.default_rng(1))
    slow = slow_seed_weights(groups, 6000, np.random.default_rng(2))
    assert fast.sum(axis=1) == pytest.approx(1.0)
    assert fast.mean(axis=0) == pytest.approx(slow.mean(axis=0), abs=0.02)
    assert np.cov(fast.T) == pytest.approx(np.cov(slow.T), abs=0.008)


def test_images_alone_give_the_plain_percentiles():
    # Seeds that agree: what is left is the percentile interval over images.
    draws = np.random.default_rng(0).normal(1, 0.5, 5000)
    low, high = statistics.bootstrap_interval(np.tile(draws, (4, 1)), [[0, 1, 2, 3]])
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_seeds_alone_give_about_the_interval_of_t():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        values = rng.normal(0, 1, 8)
        low, high = statistics.bootstrap_interval(np.tile(values[:, None], 4000), [list(range(8))])
        (t_low, t_high), _ = statistics.paired_t(values, np.zeros(8))
        ratios.append((high - low) / (t_high - t_low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_intervals_of_five_seeds_hold_the_truth_as_often_as_they_say():
    """Unstretched percentiles hold it in 82 % of cases; what is said is 95 %."""
    rng = np.random.default_rng(3)
    held = plain = 0
    for run in range(600):
        of_seeds, of_images = rng.normal(0.5, 1, 5), rng.normal(0, 0.1)
        draws = of_images + rng.normal(0, 0.1, 500)
        differences = of_seeds[:, None] + draws
        low, high = statistics.bootstrap_interval(differences, [list(range(5))], seed=run)
        held += low <= 0.5 <= high
        weights = statistics.seed_weights([list(range(5))], 500, np.random.default_rng(run))
        narrow = np.quantile(np.einsum("bs,sb->b", weights, differences), [0.025, 0.975])
        plain += narrow[0] <= 0.5 <= narrow[1]
    assert 0.92 <= held / 600 <= 0.98
    assert plain / 600 < 0.9


def test_comparison_of_few_seeds_has_no_interval():
    arm, control = np.array([3.0, 4.0]), np.array([1.0, 1.0])
    found = statistics.compare(arm, control, np.tile((arm - control)[:, None], 10), [[0, 1]], Rule())
    assert (found.seeds, found.difference, found.interval, found.p) == (2, 2.5, None, None)
    assert found.verdict == "more seeds"


def test_resamples_without_any_object_are_left_out():
    differences = np.ones((3, 10))
    differences[:, 4] = np.nan
    assert statistics.bootstrap_interval(differences, [[0, 1, 2]]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_image_weights_choose_as_many_images_as_there_are():
    weights = statistics.image_weights(7, 50)
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, statistics.image_weights(7, 50))
