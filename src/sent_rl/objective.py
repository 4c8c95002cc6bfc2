"""The one loss: clipped surrogate, token-weighted KL, entropy, aggregation. It knows treatments and no method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sent_rl.methods.base import Estimator, Treatment

LossType = Literal["dapo", "bnpo", "grpo", "dr_grpo"]


@dataclass
class Loss:
    """``total`` is what to differentiate; the parts are detached. ``kl`` is (B, T), unweighted, 0 where the coefficient is."""

    total: Tensor
    policy: Tensor
    penalty: Tensor
    entropy: Tensor
    kl: Tensor
    clipped: Tensor


def kl_estimate(logps: Tensor, anchor_logps: Tensor, old_logps: Tensor, estimator: Estimator, importance: bool) -> Tensor:
    """Per-token estimate of KL(pi || anchor) from tokens that pi_old sampled, differentiable through ``logps``.

    With d = log pi - log anchor: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d, abs = |d|. ``importance`` multiplies by
    rho = pi / pi_old: inside the graph for k1 and k3, as a constant weight for k2 and abs. With it, the expected gradient of k1, k2 and k3
    is exactly that of KL(pi || anchor), and that of abs is twice the gradient of the total variation. Without it, and on tokens that pi
    itself sampled, k2 alone keeps that property: k1's gradient is 0 in expectation and k3's is that of KL(anchor || pi).
    (Schulman, "Approximating KL divergence", 2020, for the values; the gradients are checked by enumeration in tests/test_objective.py.)

    Args:
        logps, anchor_logps, old_logps: (B, T).
    """
    d = logps - anchor_logps
    value = {"k1": lambda: d, "k2": lambda: d.square() / 2, "k3": lambda: torch.expm1(-d) + d, "abs": lambda: d.abs()}[estimator]()
    if not importance:
        return value
    rho = (logps - old_logps).exp()
    return value * (rho if estimator in ("k1", "k3") else rho.detach())


def surrogate(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """(B, T) per-token policy loss ``-min(r A, clip(r, 1 - low, 1 + high) A)`` and where the clip holds the token back.

    ``clip`` is (low, high); infinite for ``-r A``.
    """
    ratio = (logps - old_logps).exp()
    unclipped = ratio * advantages
    bounded = ratio.clamp(1 - clip[0], 1 + clip[1]) * advantages
    return -torch.min(unclipped, bounded), bounded < unclipped


def penalty(logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, treatment: Treatment) -> tuple[Tensor, Tensor]:
    """(B, T) ``kl_coef * KL`` and the KL alone, both exactly 0 (value and gradient) where ``kl_coef`` is 0.

    Raises:
        ValueError: the treatment is anchored at the reference policy and ``ref_logps`` is None.
    """
    active = treatment.kl_coef != 0
    anchor = old_logps if treatment.anchor == "old" else ref_logps
    if anchor is None:
        if active.any():
            raise ValueError("this treatment takes a KL to the reference policy, but ref_logps is None")
        anchor = old_logps
    # Inactive tokens are replaced before the exponentials: inf * 0 in the backward pass would be nan.
    zero = torch.zeros((), dtype=logps.dtype, device=logps.device)
    logps, anchor, old = (torch.where(active, x, zero) for x in (logps, anchor, old_logps))
    kl = kl_estimate(logps, anchor, old, treatment.kl_estimator, treatment.kl_importance)
    return treatment.kl_coef * kl, kl.detach()


def aggregate(
    values: Tensor,
    mask: Tensor,
    loss_type: str,
    *,
    tokens: float | Tensor | None = None,
    sequences: float | Tensor | None = None,
    max_length: int | None = None,
) -> Tensor:
    """One number from (B, T) per-token values, by TRL's names and with explicit denominators.

    Denominators are those of the whole optimizer step; then the sum over its micro-batches is the loss of the step, however it is cut.

    - ``dapo``, ``bnpo`` (and TRL's cispo, vespo): sum / ``tokens``. TRL's bnpo counts the tokens of one micro-batch, its dapo all.
    - ``grpo`` (and sapo): sum over sequences of each one's token mean / ``sequences``.
    - ``dr_grpo``: sum / (``sequences`` * ``max_length``).
    - ``luspo``: sum / ``sequences``.

    ``tokens`` and ``sequences`` default to those of ``mask``.
    """
    mask = mask.bool()
    per_sequence = torch.where(mask, values, torch.zeros_like(values)).sum(-1)
    count = len(mask) if sequences is None else sequences
    if loss_type in ("grpo", "sapo"):
        return (per_sequence / mask.sum(-1).clamp(min=1)).sum() / count
    if loss_type == "luspo":
        return per_sequence.sum() / count
    if loss_type == "dr_grpo":
        if max_length is None:
            raise ValueError("dr_grpo needs max_length")
        return per_sequence.sum() / (count * max_length)
    if loss_type in ("dapo", "bnpo", "cispo", "vespo"):
        total = mask.sum().clamp(min=1) if tokens is None else tokens
        return per_sequence.sum() / total
    raise ValueError(f"unknown loss type {loss_type!r}")


def policy_loss(
    logps: Tensor,
    old_logps: Tensor,
    treatment: Treatment,
    mask: Tensor,
    *,
    ref_logps: Tensor | None = None,
    entropies: Tensor | None = None,
    clip: tuple[float, float] = (0.2, 0.2),
    loss_type: LossType = "dapo",
    tokens: float | Tensor | None = None,
    sequences: float | Tensor | None = None,
    max_length: int | None = None,
) -> Loss:
    """The loss of one micro-batch (to minimise).

    ``aggregate( w_t * -min(r_t A_t, clip(r_t) A_t) + kl_coef_t * KL_t - entropy_coef * H_t )``, everything by the treatment.

    Args:
        logps: (B, T) log-probs under the policy in training, with gradient.
        old_logps, ref_logps: (B, T) log-probs under the policy that sampled and the frozen reference.
        treatment: of these B responses.
        mask: (B, T) valid response tokens.
        entropies: (B, T) with gradient; needed where the treatment has an entropy coefficient.
        clip: (low, high), where the treatment has none of its own.
        loss_type, tokens, sequences, max_length: see :func:`aggregate`.
    """

    def total(values: Tensor) -> Tensor:
        return aggregate(values, mask, loss_type, tokens=tokens, sequences=sequences, max_length=max_length)

    valid = mask.bool()
    zero = torch.zeros((), dtype=logps.dtype, device=logps.device)
    logps, old_logps = torch.where(valid, logps, zero), torch.where(valid, old_logps, zero)
    ref_logps = None if ref_logps is None else torch.where(valid, ref_logps, zero)
    per_token, clipped = surrogate(logps, old_logps, treatment.advantages, treatment.clip or clip)
    weighted_kl, kl = penalty(logps, old_logps, ref_logps, treatment)
    policy, regulariser = total(treatment.policy_weight * per_token), total(weighted_kl)
    bonus = zero
    if treatment.entropy_coef:
        if entropies is None:
            raise ValueError("this treatment has an entropy coefficient, but entropies is None")
        bonus = total(entropies)
    return Loss(
        total=policy + regulariser - treatment.entropy_coef * bonus,
        policy=policy.detach(),
        penalty=regulariser.detach(),
        entropy=bonus.detach(),
        kl=kl,
        clipped=clipped & valid,
    )
