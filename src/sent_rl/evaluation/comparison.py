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


class Error(NamedTuple):
    """A standard error, and the degrees of freedom that it is known with."""

    stderr: float
    df: float


@dataclass(frozen=True)
class RunEstimate:
    """An arm's mean, or the difference of two, over other runs and other questions.

    ``errors``: over runs alone, and over runs and questions where the questions add to it. The
    wider interval and the larger p of the two hold: with two or three runs the second may by
    chance look far too certain. No errors where the runs do not show how far runs differ: fewer
    than two of an arm, or all with the same mean.
    """

    value: float
    errors: tuple[Error, ...]

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of a true value of 0; nan without errors."""
        return max((t_tail(self.value / e.stderr, e.df) for e in self.errors), default=math.nan)

    @cached_property
    def half_width(self) -> float:
        """Half of the 95 % interval, which leaves 0 out exactly where p < 0.05; nan without errors."""
        return max((t_quantile(0.05, e.df) * e.stderr for e in self.errors), default=math.nan)

    @property
    def interval(self) -> tuple[float, float]:
        return self.value - self.half_width, self.value + self.half_width


class FTest(NamedTuple):
    """One-way analysis of variance: mean square between arms over that between runs of an arm."""

    f: float
    df: int
    df_error: int
    p: float


def run_mean(scores: Scores) -> RunEstimate:
    """An arm's mean."""
    return RunEstimate(float(scores.mean()), _errors(scores))


def difference(a: Scores, b: Scores, paired: bool = False) -> RunEstimate:
    """``mean(a) - mean(b)`` over runs, on the same questions.

    Welch's t test over the means of runs (Welch 1947): the arms' runs may spread differently. It
    is what Colas et al. (2018, arXiv 1806.08295) advise for few training runs. The arms' interaction
    with the questions adds to its variance, as far as it is above the noise of runs, so that the
    result speaks of other questions too. Degrees of freedom after Satterthwaite.

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
    return RunEstimate(value, _errors(a - b) if paired else _errors(a, -b))


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


def _errors(*arms: Scores) -> tuple[Error, ...]:
    """Errors of the sum of the arms' means; each arm has runs of its own, the questions are shared.

    The variance between means of runs has run x question in it already. What the questions add is
    the variance over questions of the summed means of arms, less the run x question noise in them;
    where the noise is larger, nothing.
    """
    if min(map(len, arms)) < 2:
        return ()
    of_runs = [float(a.mean(axis=1).var(ddof=1)) / len(a) for a in arms]
    variance, questions = sum(of_runs), arms[0].shape[1]
    if variance == 0:
        return ()
    doubt = sum(v**2 / (len(a) - 1) for v, a in zip(of_runs, arms, strict=True))
    runs_alone = _satterthwaite(variance, doubt)
    if questions < 2:
        return (runs_alone,)
    means = np.sum([a.mean(axis=0) for a in arms], axis=0)
    noise = sum(interaction(a) / len(a) for a in arms)
    of_questions = (float(means.var(ddof=1)) - noise) / questions
    if of_questions <= 0:
        return (runs_alone,)
    both = _satterthwaite(variance + of_questions, doubt + of_questions**2 / (questions - 1))
    return (runs_alone, both)


def _satterthwaite(variance: float, doubt: float) -> Error:
    """``doubt``: the sum of squared parts of the variance over their degrees of freedom."""
    return Error(math.sqrt(variance), variance**2 / doubt)
