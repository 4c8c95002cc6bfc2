"""Inference over training runs: exact distributions, false alarms and coverage by simulation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from study_helpers import committed, simulations

from sent_rl.evaluation.comparison import difference, f_over_arms, holm, run_mean
from sent_rl.evaluation.distributions import f_tail, t_power, t_quantile, t_tail


def test_the_committed_study_spreads_as_the_docs_say() -> None:
    world = committed()
    assert (world.run, world.run_question) == pytest.approx((0.0229, 0.2086), abs=5e-4)


# ---- the distributions


def test_t_against_closed_forms_and_tables() -> None:
    for t in (0.1, 1.0, 2.5, 40.0):
        assert t_tail(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi)
        assert t_tail(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t))
        assert t_tail(-t, 3.7) == t_tail(t, 3.7) == pytest.approx(f_tail(t * t, 1, 3.7))
    published: dict[tuple[float, float], float] = {
        (0.05, 1): 12.706,
        (0.05, 8): 2.306,
        (0.01, 4): 4.604,
        (0.05, 60): 2.000,
    }
    for (alpha, df), value in published.items():
        assert t_quantile(alpha, df) == pytest.approx(value, abs=5e-4)
    for alpha, df in itertools.product((0.9, 0.05, 1e-6), (1.0, 2.3, 30.0, 1e6)):
        assert t_tail(t_quantile(alpha, df), df) == pytest.approx(alpha)


def test_f_against_tables() -> None:
    for (df, df_error), value in {(2, 10): 4.1028, (4, 20): 2.8661, (15, 60): 1.8364}.items():  # the 5 % points
        assert f_tail(value, df, df_error) == pytest.approx(0.05, abs=2e-5)


def test_power_against_simulated_t_tests() -> None:
    rng = np.random.default_rng(0)
    for shift, df in ((2.0, 2), (3.3, 8), (0.0, 4)):
        t = (rng.normal(shift, 1, 200_000)) / np.sqrt(rng.chisquare(df, 200_000) / df)
        assert t_power(shift, 0.05, df) == pytest.approx(np.mean(np.abs(t) > t_quantile(0.05, df)), abs=0.004)


# ---- the tests


def test_welch_against_its_formula_and_another_pairing_against_its_own() -> None:
    a = np.array([[0.62, 0.5], [0.7, 0.6], [0.64, 0.58], [0.75, 0.61]])
    b = np.array([[0.55, 0.52], [0.6, 0.5], [0.52, 0.47]])
    x, y = a.mean(1), b.mean(1)
    found = difference(a[:, :1] * 0 + x[:, None], b[:, :1] * 0 + y[:, None])  # one question: Welch's test alone
    u, v = x.var(ddof=1) / 4, y.var(ddof=1) / 3
    df = (u + v) ** 2 / (u**2 / 3 + v**2 / 2)
    assert found.value == pytest.approx(x.mean() - y.mean())
    assert found.p == pytest.approx(t_tail(found.value / math.sqrt(u + v), df))
    half = t_quantile(0.05, df) * math.sqrt(u + v)
    assert found.interval == pytest.approx((found.value - half, found.value + half))
    paired = difference(a[:3, :1], b[:, :1], paired=True)
    d = (a[:3, :1] - b[:, :1]).ravel()
    assert paired.p == pytest.approx(t_tail(d.mean() / (d.std(ddof=1) / math.sqrt(3)), 2))


def test_p_is_near_the_exact_permutation_of_runs() -> None:
    """All 252 ways to deal ten runs to two arms, by the same statistic."""
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.02, 0.04):
        runs = rng.normal(0, 0.02, 10) + shift * (np.arange(10) < 5)
        statistics = []
        for chosen in itertools.combinations(range(10), 5):
            x, y = runs[list(chosen)], np.delete(runs, chosen)
            statistics.append(abs(x.mean() - y.mean()) / math.sqrt(x.var(ddof=1) + y.var(ddof=1)))
        exact = np.mean(np.array(statistics) >= statistics[0] * (1 - 1e-9))
        p = difference(runs[:5, None], runs[5:, None]).p
        assert p == pytest.approx(exact, abs=0.03)


def test_questions_in_common_cancel_and_those_that_arms_differ_on_count() -> None:
    rng = np.random.default_rng(1)
    difficulty, taste = rng.normal(0, 0.3, 40), rng.normal(0, 0.3, 40)
    a, b = (0.5 + difficulty + rng.normal(0, 0.02, (5, 1)) + rng.normal(0, 0.1, (5, 40)) for _ in "ab")
    plain, mixed = difference(a + 0.05, b), difference(a + 0.05 + taste - taste.mean(), b)
    assert plain.half_width < 0.05  # alone, each mean has 0.1
    assert mixed.half_width > 1.5 * plain.half_width  # other questions, another difference
    assert run_mean(a).half_width > 0.08


def test_an_interval_leaves_0_out_where_p_is_small() -> None:
    rng = np.random.default_rng(3)
    for shift in np.linspace(0, 0.1, 40):
        found = difference(rng.normal(shift, 0.03, (4, 20)), rng.normal(0, 0.03, (3, 20)))
        assert (found.p < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])


def test_nothing_is_known_of_single_runs() -> None:
    one, five = np.full((1, 8), 0.5), np.random.default_rng(0).random((5, 8))
    for a, b in ((one, five), (five, one), (one, one)):
        found = difference(a, b)
        assert all(map(math.isnan, (found.p, *found.interval)))
    assert run_mean(one).errors == ()
    same = np.tile(five[0], (3, 1))
    assert math.isnan(difference(same, same + 0.1).p)  # runs that do not differ at all
    assert math.isnan(f_over_arms([one, one]).f)
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(five, five[:, :3])
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(five, five[:3], paired=True)


def test_f_over_arms_against_permutations_of_runs() -> None:
    rng = np.random.default_rng(5)
    runs = rng.normal(0, 1, (4, 5)) + np.array([[0.0], [0.5], [1.0], [0.0]])
    found = f_over_arms([arm[:, None] for arm in runs])
    assert (found.df, found.df_error) == (3, 16)

    def between(rows: np.ndarray) -> Any:  # F grows with it, the total being the same
        return rows.mean(axis=-1).var(axis=-1)

    dealt = rng.permuted(np.tile(runs.ravel(), (100_000, 1)), axis=1).reshape(-1, 4, 5)
    assert found.p == pytest.approx(np.mean(between(dealt) >= between(runs) - 1e-12), abs=0.01)


def test_holm() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({"a": 0.02, "b": math.nan}) == pytest.approx({"a": 0.02, "b": math.nan}, nan_ok=True)
    assert holm({}) == {}


# ---- simulated studies with the spread of the committed one


def test_false_alarms_of_two_identical_arms() -> None:
    tools = simulations()
    assert tools.false_alarms(committed(), tools.sign_flips, 300) > 0.35  # questions as the unit: what this replaces
    for test, runs in ((tools.welch, 2), (tools.welch, 5), (tools.paired, 2), (tools.paired, 5)):
        assert tools.false_alarms(committed(), test, 1000, runs=runs) <= 0.06


def test_false_alarms_of_fifteen_identical_arms() -> None:
    tools = simulations()
    assert tools.false_alarms(committed(), tools.sign_flips, 15, arms=16) > 0.8
    assert tools.false_alarms(committed(), tools.welch, 500, arms=16) <= 0.06


def test_intervals_cover_as_often_as_they_say() -> None:
    tools = simulations()
    for runs, questions, taste in ((3, 64, 0.1), (5, 64, 0.0), (5, 256, 0.1)):
        world = tools.replace(committed(), arm_question=taste)
        of_difference, of_mean = tools.coverage(world, 1000, runs=runs, questions=questions)
        assert of_difference >= 0.935
        assert of_mean >= 0.935


def test_arms_may_spread_differently() -> None:
    """One variance for all arms would be wrong in one study of six, where one arm spreads twice as wide."""
    tools = simulations()
    uneven = tools.replace(committed(), first_arm=2.0)
    assert tools.false_alarms(uneven, tools.welch, 1000) <= 0.06
    assert tools.pooled_false_alarms(uneven, 150) > 0.1


def test_no_generator_has_a_say() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 64)), rng.random((5, 64))
    first = difference(a, b)
    np.random.seed(1)  # noqa: NPY002
    assert difference(a, b) == first
    assert difference(a[::-1], b[::-1]).p == pytest.approx(first.p)
