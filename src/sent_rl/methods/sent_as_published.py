"""What SENT's published code does, as it does it."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from sent_rl.errors import UserError
from sent_rl.methods.base import UNCLIPPED, Method, Rollouts, Scope, State, Treatment
from sent_rl.tokens import share_count


class SentAsPublished(Method):
    """SENT as published: the loss of the authors' code, which is not the paper's.

    Equation: -r_t A_t for every token, plus beta_t |log pi - log pi_old|; among the 80 % of lowest entropy, beta_t = beta_high on the
    max(1, floor(kappa n)) tokens of largest covariance and beta_low on as many of the smallest; 0 elsewhere. Covariance is centred over
    those 80 % (n tokens).

    Source: the authors' repository for arXiv 2512.04359 (a fork of verl 0.4), loss "low_entropy_kl_cov_v2", audited.

    Defaults: kappa = 2e-4, beta_high = 0.2, beta_low = 0.05, no clip: the code's. It adds a plain k3 KL to the reference on every token:
    set TRL's `beta: 0.001` and `use_bias_correction_kl: false` for that.

    Deviations: the selection is over the step, the code's over each micro-batch and GPU (`scope: micro_batch`). The code computes the
    covariance on the wrong data: its integer mask, used as an index, gathers rows 0 and 1 of the batch again and again, so that the value
    it takes for valid token n belongs to another token. `faithful_bug: true` reproduces that (two responses at least: with one, the code
    fails). The penalty has no gradient at the first update after a rollout. Where all
    advantages are equal, which tokens are picked is arbitrary, as in the code.

    Limits: the loss must be one that clips the ratio (TRL: dapo, grpo, bnpo, dr_grpo or luspo),
    TRL's `importance_sampling_level` must be token, and its `delta` unset.
    """

    selects_by_covariance: ClassVar[bool] = True

    name: Literal["sent_as_published"] = "sent_as_published"
    low_entropy_fraction: float = Field(0.8, ge=0, le=1, description="share of all response tokens that counts as low entropy")
    extreme_fraction: float = Field(2e-4, gt=0, le=1, description="share of the low-entropy tokens at either end of covariance")
    beta_low: float = Field(0.05, ge=0, description="coefficient at the smallest covariances")
    beta_high: float = Field(0.2, ge=0, description="coefficient at the largest covariances")
    faithful_bug: bool = Field(False, description="compute the covariance on the wrong tokens, as the code does")
    scope: Scope = Field("step", description="step, or micro_batch as published")

    @property
    def anchor(self) -> Literal["old"]:
        return "old"

    @property
    def clip(self) -> tuple[float, float]:
        return UNCLIPPED

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        valid = rollouts.mask.flatten().nonzero()[:, 0]
        lowest = rollouts.entropies.flatten()[valid].topk(share_count(self.low_entropy_fraction, len(valid)), largest=False).indices
        centred = []
        for values in (rollouts.advantages, rollouts.logps):
            column = _misread(values, rollouts.mask, lowest) if self.faithful_bug else values.flatten()[valid[lowest]]
            centred.append(column - column.mean())
        covariance, count = centred[0] * centred[1], share_count(self.extreme_fraction, len(lowest))
        tokens = {
            "low_entropy": valid[lowest],
            "high_covariance": valid[lowest[covariance.topk(count).indices]],
            "low_covariance": valid[lowest[covariance.topk(count, largest=False).indices]],
        }
        none = torch.zeros_like(rollouts.mask).flatten()
        selections = {name: none.index_fill(0, chosen, True).view_as(rollouts.mask) for name, chosen in tokens.items()}
        kl_coef = torch.zeros_like(rollouts.advantages).masked_fill(selections["high_covariance"], self.beta_high)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=kl_coef.masked_fill(selections["low_covariance"], self.beta_low),
            anchor=self.anchor,
            kl_estimator="abs",
            kl_importance=False,
            clip=self.clip,
            selections=selections,
        )


def _misread(values: Tensor, mask: Tensor, numbers: Tensor) -> Tensor:
    """What the code reads for the valid tokens of these ``numbers``, (n,).

    It lays the rows ``values[mask[i, j]]`` of all i, j end to end and takes the entries at ``numbers`` from that.
    """
    if len(mask) < 2:
        raise UserError("method.faithful_bug: the published indexing fails with one response in the selection; use two or more")
    row = mask.flatten()[numbers // mask.size(1)].long()
    return values[row, numbers % mask.size(1)]
