"""Student's t and Fisher's F, for tests with few runs. Tails come from mpmath's incomplete beta function."""

from __future__ import annotations

import math
from statistics import NormalDist

import mpmath
import numpy as np


def t_tail(t: float, df: float) -> float:
    """``P(|T| >= |t|)`` of Student's t with ``df`` degrees of freedom (a fraction is fine)."""
    return float(mpmath.betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True))


def f_tail(f: float, df: float, df_error: float) -> float:
    """``P(F >= f)`` of Fisher's F with ``df`` and ``df_error`` degrees of freedom."""
    x = df_error / (df_error + df * f)
    return float(mpmath.betainc(df_error / 2, df / 2, 0, x, regularized=True))


def t_quantile(alpha: float, df: float) -> float:
    """The t that ``|T|`` exceeds with probability ``alpha``.

    Newton's method on log tail against log t. That curve falls and is concave, so the iteration
    cannot leave the root's side after its first step; convergence is quadratic. It starts from
    the first terms of Cornish and Fisher's expansion.
    """
    z = NormalDist().inv_cdf(1 - alpha / 2)
    t = z * (1 + (z * z + 1) / (4 * df))
    for _ in range(100):
        tail = t_tail(t, df)
        step = math.log(tail / alpha) * tail / (2 * t * _t_density(t, df))
        t *= math.exp(step)
        if abs(step) < 1e-7:
            break
    return t


def t_power(shift: float, alpha: float, df: float) -> float:
    """How often a two-sided t test at level ``alpha`` rejects.

    Args:
        shift: the true difference over the true standard error (the noncentrality).
    """
    critical = t_quantile(alpha, df)
    spread = _relative_errors(df)
    density = (df - 1) * np.log(spread) - df * spread**2 / 2
    weight = np.exp(density - density.max())
    normal = NormalDist()
    above = [normal.cdf(shift - critical * s) + normal.cdf(-shift - critical * s) for s in spread]
    return float(weight @ np.array(above) / weight.sum())


def _t_density(t: float, df: float) -> float:
    constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    return math.exp(constant - (df + 1) / 2 * math.log1p(t * t / df))


def _relative_errors(df: float) -> np.ndarray:
    """A grid over the estimated standard error relative to the true one, 9 deviations wide."""
    width = 9 / math.sqrt(2 * df)
    return np.linspace(max(1 - width, 0) + 1e-9, 1 + width, 2001)
