"""Every response token's log-prob and entropy, and exact shares of them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class TokenStats(NamedTuple):
    """``logps``: log-prob of each label; ``entropies``: entropy of the distribution it came from. Nats, float32, shaped as labels."""

    logps: Tensor
    entropies: Tensor


def token_stats(
    hidden: Tensor, weight: Tensor, labels: Tensor, *, bias: Tensor | None = None, temperature: float = 1.0, chunk_size: int = 1024
) -> TokenStats:
    """Log-probs and entropies straight from the last hidden states, ``chunk_size`` tokens at a time.

    The (tokens, V) logits never exist at once, in the forward pass or in the backward pass, which recomputes them. Both results are
    differentiable. Logits are computed in the dtype of ``hidden`` and normalised in float32 (float64 stays float64).

    Args:
        hidden: (..., D) the state that predicts each label.
        weight: (V, D) the output embedding; ``bias``: (V,).
        labels: (...) token ids.
    """

    def chunk(h: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.nn.functional.linear(h, weight, bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
        log_probs = torch.log_softmax(logits, dim=-1)
        # 0 * -inf is a forbidden token's share: nothing, not nan
        entropy = -(log_probs.exp() * log_probs.clamp_min(torch.finfo(log_probs.dtype).min)).sum(-1)
        return log_probs.gather(-1, y[:, None])[:, 0], entropy

    flat, wanted = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    parts = [
        checkpoint(chunk, flat[start : start + chunk_size], wanted[start : start + chunk_size], use_reentrant=False)
        for start in range(0, len(wanted), chunk_size)
    ]
    if not parts:
        empty = hidden.new_zeros(labels.shape, dtype=torch.promote_types(hidden.dtype, torch.float32))
        return TokenStats(empty, empty.clone())
    logps, entropies = (torch.cat(column).reshape(labels.shape) for column in zip(*parts, strict=True))
    return TokenStats(logps, entropies)


def share_count(fraction: float, count: int) -> int:
    """How many tokens a share of ``count`` is: ``max(1, floor(fraction * count))``, 0 where there are none.

    The product is exact in decimals: 0.29 of 100 is 29, not the 28 that binary rounding gives.
    """
    return max(1, math.floor(Fraction(str(fraction)) * count)) if count else 0


def lowest(values: Tensor, among: Tensor, fraction: float) -> Tensor:
    """The lowest share of ``values[among]``: a mask, all ties at the threshold included.

    The threshold is the k-th smallest value, ``k = share_count(fraction, among.sum())``; a fraction of 0 selects nothing.

    Args:
        values: any shape, float; ``among``: bool, the same shape.
    """
    candidates = values[among]
    if fraction <= 0 or candidates.numel() == 0:
        return torch.zeros_like(among)
    threshold = candidates.kthvalue(share_count(fraction, candidates.numel())).values
    return among & (values <= threshold)


def highest(values: Tensor, among: Tensor, fraction: float) -> Tensor:
    """The highest share of ``values[among]``: as :func:`lowest`, from the other end."""
    return lowest(-values, among, fraction)
