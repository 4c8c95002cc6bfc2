"""Learning from the forking tokens only."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Method, Rollouts, Scope, State, Treatment
from sent_rl.tokens import highest


class EntropyMask(Method):
    """Entropy mask: the policy gradient comes from the tokens of highest entropy alone.

    Equation: the clipped surrogate times 1{H_t >= tau}, tau the entropy that the top share of tokens reaches.

    Source: Wang et al., "Beyond the 80/20 Rule", arXiv 2506.01939, eq. 6.

    Defaults: the top 20 % of all response tokens of the step; the denominator counts the selected tokens, as in the paper.

    Deviations: the paper (and TRL's `top_entropy_quantile`) takes tau over each micro-batch: `scope: micro_batch`. TRL divides by all
    tokens, which makes the gradient about five times smaller: `denominator: all`. With loss types other than a mean over tokens,
    `denominator: selected` scales the surrogate by all / selected tokens. The paper uses no KL.

    Limits: TRL's `importance_sampling_level` must be token: through the ratio of a sequence, all of
    its tokens learn.
    """

    name: Literal["entropy_mask"] = "entropy_mask"
    top_fraction: float = Field(0.2, gt=0, le=1, description="share of all response tokens that is learned from")
    denominator: Literal["selected", "all"] = Field("selected", description="tokens that the policy loss is divided by")
    scope: Scope = Field("step", description="step, or micro_batch as published")

    @property
    def weighs_tokens(self) -> bool:
        return True

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        top = highest(rollouts.entropies, rollouts.mask, self.top_fraction)
        weight = top.to(rollouts.advantages.dtype)
        if self.denominator == "selected":
            weight = weight * (int(rollouts.mask.sum()) / max(1, int(top.sum())))
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=weight,
            kl_coef=torch.zeros_like(rollouts.advantages),
            selections={"high_entropy": top},
        )
