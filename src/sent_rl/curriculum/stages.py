"""Scored problems -> an order, cut in stages."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sent_rl.errors import UserError

Order = Literal["ascending", "descending", "random"]


@dataclass(frozen=True)
class Stages:
    """The curriculum of N problems.

    ``order``: problem indices, first to train first; ``stage``: the stage of each problem, by problem index;
    ``tie_rate``: share of problems whose semantic entropy equals another problem's; ``tied_cuts``: how many of the cuts between
    stages fall between two problems of equal semantic entropy, so that only the tie rule put them apart.
    """

    order: list[int]
    stage: list[int]
    tie_rate: float
    tied_cuts: int

    @property
    def sizes(self) -> list[int]:
        counts = Counter(self.stage)
        return [counts[s] for s in range(len(counts))]


def make_stages(
    entropies: Sequence[float],
    pass_rates: Sequence[float],
    ids: Sequence[str],
    stages: int = 2,
    order: Order = "ascending",
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> Stages:
    """Sort problems by semantic entropy and cut them in stages (PAPER.md section 1, steps 3 and 4 of arXiv 2512.04359's method).

    Ties: at equal semantic entropy the higher pass rate comes first (the easier problem), then the smaller id. ``descending`` is
    exactly the reverse; ``random`` shuffles by ``seed`` and is a control.

    Args:
        entropies, pass_rates, ids: (N,) each, one entry a problem.
        stages: how many equal parts (sizes differ by one at most); ignored where ``thresholds`` are given.
        thresholds: increasing semantic entropies in nats at which to cut: a problem at or above a threshold is in the later stage.

    Raises:
        UserError: more stages than problems, thresholds that do not increase or leave a stage empty, or ``random`` with thresholds.
    """
    count = len(entropies)
    ranked = sorted(range(count), key=lambda i: (entropies[i], -pass_rates[i], ids[i]))
    if order == "descending":
        ranked.reverse()
    elif order == "random":
        random.Random(seed).shuffle(ranked)
    sizes = equal_sizes(count, stages) if thresholds is None else _threshold_sizes(entropies, thresholds, order)
    stage = [0] * count
    starts = [sum(sizes[:s]) for s in range(len(sizes) + 1)]
    for s in range(len(sizes)):
        for i in ranked[starts[s] : starts[s + 1]]:
            stage[i] = s
    repeats = Counter(entropies)
    tied_cuts = sum(entropies[ranked[cut - 1]] == entropies[ranked[cut]] for cut in starts[1:-1])
    return Stages(ranked, stage, sum(repeats[e] > 1 for e in entropies) / count, tied_cuts)


def equal_sizes(count: int, stages: int) -> list[int]:
    """Sizes of ``stages`` parts of ``count`` problems that differ by one at most.

    Raises:
        UserError: more stages than problems.
    """
    if stages < 1:
        raise UserError(f"stage.stages: {stages}; at least 1")
    if stages > count:
        raise UserError(f"stage.stages: {stages} stages, but there are only {count} problems; ask for {count} at most")
    return [count * (s + 1) // stages - count * s // stages for s in range(stages)]


def _threshold_sizes(entropies: Sequence[float], thresholds: Sequence[float], order: Order) -> list[int]:
    cuts = list(thresholds)
    if not cuts or any(math.isnan(c) for c in cuts) or any(b <= a for a, b in itertools.pairwise(cuts)):
        raise UserError(f"stage.thresholds: {cuts} must be one or more increasing numbers")
    if order == "random":
        raise UserError("stage.thresholds: thresholds cut by semantic entropy, which a random order has not; drop one of the two")
    found = Counter(bisect_right(cuts, e) for e in entropies)
    sizes = [found[s] for s in range(len(cuts) + 1)]
    if 0 in sizes:
        raise UserError(
            f"stage.thresholds: {cuts} leaves stage {sizes.index(0)} without problems; semantic entropies go from"
            f" {min(entropies):.3f} to {max(entropies):.3f} nats"
        )
    return sizes[::-1] if order == "descending" else sizes
