"""How large must a difference between two arms be for a study to see it?"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from sent_rl.evaluation.comparison import Scores, interaction
from sent_rl.evaluation.distributions import t_power

POWER = 0.8
"""The usual convention: a true difference of the stated size is found in 80 % of studies."""

_MOST_RUNS = 1000


class Spread(NamedTuple):
    """Standard deviations of runs of one arm: of the run as a whole, and of run x question."""

    run: float
    question: float

    def of_mean(self, questions: int) -> float:
        """Standard deviation of a run's mean over ``questions`` questions."""
        return math.hypot(self.run, self.question / math.sqrt(questions))


def spread(arms: Iterable[Scores]) -> Spread | None:
    """The spread of runs, pooled over all arms that have two or more; None where none has."""
    repeated = [scores for scores in arms if len(scores) > 1]
    if not repeated:
        return None
    df = [len(scores) - 1 for scores in repeated]
    questions = repeated[0].shape[1]
    total = sum(d * float(s.mean(axis=1).var(ddof=1)) for d, s in zip(df, repeated, strict=True))
    both = sum(d * interaction(s) for d, s in zip(df, repeated, strict=True)) / sum(df)
    run = max(0.0, total / sum(df) - both / questions)
    return Spread(math.sqrt(run), math.sqrt(both))


def power(difference: float, deviation: float, runs: int, comparisons: int = 1, *, paired: bool = False) -> float:
    """How often a true difference between two arms is found at the 5 % level.

    Args:
        difference: the true difference of the arms' means, in the unit of ``deviation``.
        deviation: standard deviation of the means of runs (:meth:`Spread.of_mean`).
        runs: of each arm, at least 2.
        comparisons: tests that Holm's correction is over. The figure holds for the only arm that
            differs, or the first to be found; each later one has it easier.
        paired: by seed; ``deviation`` is then that of paired differences, over the root of 2.
    """
    stderr = deviation * math.sqrt(2 / runs)
    shift = difference / stderr if stderr > 0 else math.inf
    return t_power(shift, 0.05 / comparisons, runs - 1 if paired else 2 * runs - 2)


def detectable(deviation: float, runs: int, comparisons: int = 1, *, paired: bool = False) -> float:
    """The smallest true difference that is found in 80 % of studies, in the unit of ``deviation``.

    nan for fewer than two runs an arm. Arguments as of :func:`power`.
    """
    if runs < 2:
        return math.nan

    def seen(difference: float) -> bool:
        return power(difference, deviation, runs, comparisons, paired=paired) >= POWER

    low, high = 0.0, deviation
    while not seen(high):
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def runs_needed(difference: float, deviation: float, comparisons: int = 1, *, paired: bool = False) -> int | None:
    """Runs of each arm to find ``difference`` in 80 % of studies; None: more than 1,000."""

    def enough(runs: int) -> bool:
        return power(difference, deviation, runs, comparisons, paired=paired) >= POWER

    found = bisect_left(range(_MOST_RUNS + 1), True, lo=2, key=enough)
    return found if found <= _MOST_RUNS else None
