"""Is one method better than another, with several seeds each, on the same questions?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
"""(seeds, questions): the value of a metric for every training seed and test question."""


class Difference(NamedTuple):
    """Mean of a minus mean of b, its 95 % interval, and the p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def bootstrap_means(scores: Scores, question_weights: Scores, rng: np.random.Generator) -> Scores:
    """(draws,) means of ``scores`` with seeds resampled, for questions that were resampled already.

    Args:
        question_weights: (draws, questions) how often each question was drawn, as shares that sum to 1.
    """
    seeds = len(scores)
    seed_weights = rng.multinomial(seeds, [1 / seeds] * seeds, size=len(question_weights)) / seeds
    means: Scores = np.einsum("ds,sq,dq->d", seed_weights, scores, question_weights, optimize=True)
    return means


def resampled_questions(questions: int, draws: int, rng: np.random.Generator) -> Scores:
    """(draws, questions) shares of a bootstrap over questions."""
    weights: Scores = rng.multinomial(questions, [1 / questions] * questions, size=draws) / questions
    return weights


def interval(scores: Scores, draws: int = 4000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean by hierarchical bootstrap: seeds, then questions."""
    rng = np.random.default_rng(seed)
    means = bootstrap_means(scores, resampled_questions(scores.shape[1], draws, rng), rng)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def difference(a: Scores, b: Scores, draws: int = 4000, seed: int = 0) -> Difference:
    """``mean(a) - mean(b)`` on the same questions.

    The interval is a hierarchical bootstrap: each method's seeds are resampled by themselves, the questions jointly. The p-value is that
    of a sign-flip test over questions (seeds averaged), two-sided: whether differences of this size would come from questions whose
    differences are symmetric about 0. It speaks of these training runs; the interval also covers other seeds.

    Raises:
        ValueError: different numbers of questions.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} questions cannot be compared")
    rng = np.random.default_rng(seed)
    questions = resampled_questions(a.shape[1], draws, rng)
    drawn = bootstrap_means(a, questions, rng) - bootstrap_means(b, questions, rng)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(float(a.mean() - b.mean()), float(low), float(high), sign_flip_p(a.mean(0) - b.mean(0), draws, rng))


def sign_flip_p(differences: Scores, draws: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the mean under random signs; the observed assignment counts as one of the draws, so it is never 0."""
    signs = rng.integers(0, 2, size=(draws, len(differences)), dtype=np.int8) * 2.0 - 1.0
    flipped = np.abs(signs @ differences)
    observed = abs(differences.sum())
    return float((1 + (flipped >= observed * (1 - 1e-12)).sum()) / (1 + draws))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values of a family of tests."""
    adjusted, running = dict[str, float](), 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda n: p_values[n])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running
    return adjusted
