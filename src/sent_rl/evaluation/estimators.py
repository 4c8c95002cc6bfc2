"""Pass@K and Avg@K from one set of n samples a question, with standard errors over questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z_95 = 1.959964
"""Half-width of a 95 % normal interval, in standard errors."""


class Estimate(NamedTuple):
    """A mean over questions and its standard error; both as shares, not per cent."""

    value: float
    stderr: float

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval."""
        return Z_95 * self.stderr


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> NDArray[np.float64]:
    """Unbiased Pass@K: ``1 - C(n - c, k) / C(n, k)`` (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Args:
        n: samples a question, scalar or (Q,); ``c``: how many of them are right, scalar or (Q,).

    Returns:
        The shape that n and c broadcast to.

    Raises:
        ValueError: k < 1, k > n, or c outside 0..n.
    """
    samples, correct = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    if k < 1 or (samples < k).any():
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} samples a question, there are {samples.min()}")
    if (correct < 0).any() or (correct > samples).any():
        raise ValueError("c must lie between 0 and n")

    def one(total: int, right: int) -> float:
        return 1.0 - math.comb(int(total) - int(right), k) / math.comb(int(total), k)

    values: NDArray[np.float64] = np.vectorize(one, otypes=[np.float64])(samples, correct)
    return values


def avg_at_k(n: ArrayLike, c: ArrayLike, k: int | None = None) -> NDArray[np.float64]:
    """Avg@K: the share of right samples, ``c / n``.

    The expected value is the same for every K; of one set of n samples the mean over all n is the best estimate of each. ``k`` is taken so
    that the call looks like :func:`pass_at_k`'s, and changes nothing.
    """
    samples, correct = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(c, dtype=np.float64))
    values: NDArray[np.float64] = correct / samples
    return values


def estimate(per_question: ArrayLike, groups: Sequence[str] | None = None) -> Estimate:
    """Mean over questions and its standard error (Miller 2024, arXiv 2411.00640); nan for one question.

    ``std / sqrt(Q)`` (section 2 there). For the paired difference of two models hand in the differences a question (section 4.2).

    Args:
        per_question: (Q,) values.
        groups: (Q,) which questions belong together, because they are about the same text: then the clustered standard error
            ``sqrt(sum over groups of (sum of deviations)^2) / Q`` (section 2.2), times ``sqrt(C / (C - 1))`` for C groups, so that groups
            of one question each give the first formula.
    """
    values = np.asarray(per_question, dtype=np.float64)
    if len(values) < 2:
        return Estimate(float(values.mean()), float("nan"))
    if groups is None:
        return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, weights=values - values.mean())
    many = len(names)
    stderr = math.sqrt(float((sums**2).sum()) * many / (many - 1)) / len(values) if many > 1 else float("nan")
    return Estimate(float(values.mean()), stderr)
