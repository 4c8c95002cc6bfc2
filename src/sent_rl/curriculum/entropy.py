"""How much the answers to one question disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sent_rl.answers import cluster

Unparsed = Literal["shared", "separate"]


@dataclass(frozen=True)
class SemanticEntropy:
    """``value`` in nats; ``clusters``: the cluster of each answer; ``unparsed``: how many are None."""

    value: float
    clusters: list[int]
    unparsed: int


def semantic_entropy(
    answers: Sequence[str | None],
    weights: Sequence[float] | None = None,
    unparsed: Unparsed = "separate",
) -> SemanticEntropy:
    """Entropy of the clusters that M sampled answers to one question fall into.

    ``H = -sum_k p_k log p_k`` with ``p_k = sum of the weights in cluster k / sum of all weights``. Without weights every answer
    counts 1: the discrete estimate of Farquhar et al. 2024 (Nature 630, 625). With ``weights[i] = exp(mean token log-prob of
    response i)`` it is their length-normalised likelihood estimate. Both are biased low by about (K - 1) / 2M and capped at log M.

    Args:
        answers: (M,) extracted answers, None where a response has none.
        weights: (M,) non-negative weights, not all zero.
        unparsed: what answers that are None count as. ``separate``: an answer of its own each, which
            is the largest value that the missing answers could give. ``shared``: one common answer;
            a question without any answer then has entropy 0 and counts as easy.

    Raises:
        ValueError: no answers, or weights that don't fit.
    """
    if not answers:
        raise ValueError("semantic_entropy needs at least one answer")
    weights = [1.0] * len(answers) if weights is None else list(weights)
    if len(weights) != len(answers) or any(not w >= 0 or math.isinf(w) for w in weights) or sum(weights) <= 0:
        raise ValueError("weights must be finite, non-negative, not all zero, and one for each answer")
    if unparsed not in ("shared", "separate"):
        raise ValueError(f"unparsed is 'shared' or 'separate', not {unparsed!r}")
    clusters = _number(cluster(answers), unparsed)
    mass: dict[int, float] = {}
    for number, weight in zip(clusters, weights, strict=True):
        mass[number] = mass.get(number, 0.0) + weight
    # Sorted, so that the sum and with it every tie is the same whatever the order of the answers.
    shares = sorted(m / sum(mass.values()) for m in mass.values())
    value = -math.fsum(p * math.log(p) for p in shares if p > 0)
    return SemanticEntropy(max(0.0, value), clusters, sum(answer is None for answer in answers))


def _number(clusters: Sequence[int | None], unparsed: Unparsed) -> list[int]:
    """Cluster numbers without None: unreadable answers get numbers of their own after the readable ones."""
    fresh = max((c for c in clusters if c is not None), default=-1) + 1
    numbered = []
    for c in clusters:
        numbered.append(fresh if c is None else c)
        fresh += c is None and unparsed == "separate"
    return numbered
