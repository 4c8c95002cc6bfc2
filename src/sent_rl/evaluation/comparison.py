"""Is one method better than another? The unit is the training run: a new seed is a new run.

Everything here is a function of the scores alone: no random draws, no generator's seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sent_rl.evaluation.distributions import f_tail, t_quantile, t_tail

Scores = NDArray[np.float64]
"""(runs, questions): a metric's value for every training run of an arm and every test question."""


@dataclass(frozen=True)
class RunEstimate:
    """An arm's mean, or the difference of two, with its standard error over other runs and questions.

    ``df``: the degrees of freedom that the error is known with. Error, interval and p are nan where
    the runs do not show how far runs differ: fewer than two of an arm, or all with the same mean.
    """

    value: float
    stderr: float
    df: float

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of a true value of 0."""
        return math.nan if math.isnan(self.stderr) else t_tail(self.value / self.stderr, self.df)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval; it leaves 0 out exactly where p < 0.05."""
        known = not math.isnan(self.stderr)
        half = t_quantile(0.05, self.df) * self.stderr if known else math.nan
        return self.value - half, self.value + half


class FTest(NamedTuple):
    """One-way analysis of variance: mean square between arms over that between runs of an arm."""

    f: float
    df: int
    df_error: int
    p: float


def run_mean(scores: Scores) -> RunEstimate:
    """An arm's mean."""
    return RunEstimate(float(scores.mean()), *_error(scores))


def difference(a: Scores, b: Scores, paired: bool = False) -> RunEstimate:
    """``mean(a) - mean(b)`` over runs, on the same questions.

    Welch's t test over the means of runs (Welch 1947): the arms' runs may spread differently. It
    is what Colas et al. (2018, arXiv 1806.08295) advise for few training runs. To its variance
    comes that of the arms' interaction with the questions, as far as it is above the noise of
    runs, so that the result speaks of other questions too. Degrees of freedom after Satterthwaite.

    Args:
        paired: row i of both arms is a run with the same seed: a t test on their differences.

    Raises:
        ValueError: different numbers of questions, or of runs where they are paired.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} questions cannot be compared")
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} runs cannot be paired")
    value = float(a.mean() - b.mean())
    return RunEstimate(value, *(_error(a - b) if paired else _error(a, -b)))


def f_over_arms(arms: Sequence[Scores]) -> FTest:
    """Does any arm differ from any other? Fisher's one-way F over the means of runs.

    Arms with a single run count towards their mean only; nan where no arm has two runs.
    """
    runs = [scores.mean(axis=1) for scores in arms]
    everything = np.concatenate(runs)
    between = sum(len(r) * (r.mean() - everything.mean()) ** 2 for r in runs)
    within = sum(float(((r - r.mean()) ** 2).sum()) for r in runs)
    df, df_error = len(runs) - 1, len(everything) - len(runs)
    if df < 1 or df_error < 1 or within == 0:
        return FTest(math.nan, df, df_error, math.nan)
    f = float(between / df / (within / df_error))
    return FTest(f, df, df_error, f_tail(f, df, df_error))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values of a family of tests; nan is no test and stays nan."""
    tested = sorted((n for n in p_values if not math.isnan(p_values[n])), key=lambda n: p_values[n])
    adjusted, running = dict(p_values), 0.0
    for rank, name in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p_values[name]))
        adjusted[name] = running
    return adjusted


def interaction(scores: Scores) -> float:
    """Variance of run x question: what a run's score on a question has beside run and question."""
    runs, questions = scores.shape
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    return float((rest**2).sum() / ((runs - 1) * (questions - 1)))


def _error(*arms: Scores) -> tuple[float, float]:
    """Standard error and its degrees of freedom, of the sum of the arms' means.

    Over runs, each arm's own, and over questions, which the arms share.

    Between-run variance comes from the means of runs; it contains run x question already. What
    the questions add is the variance over questions of the summed means of arms, less the
    run x question noise in them; where the noise is larger, nothing.
    """
    if min(map(len, arms)) < 2:
        return math.nan, math.nan
    of_runs = [float(a.mean(axis=1).var(ddof=1)) / len(a) for a in arms]
    variance = sum(of_runs)
    if variance == 0:
        return math.nan, math.nan
    noise = sum(v**2 / (len(a) - 1) for v, a in zip(of_runs, arms, strict=True))
    questions = arms[0].shape[1]
    if questions > 1:
        means = np.sum([a.mean(axis=0) for a in arms], axis=0)
        of_questions = float(means.var(ddof=1)) / questions
        excess = of_questions - sum(interaction(a) / len(a) for a in arms) / questions
        if excess > 0:
            variance += excess
            noise += excess**2 / (questions - 1)
    return math.sqrt(variance), variance**2 / noise
