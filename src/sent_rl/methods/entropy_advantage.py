"""Advantages shaped by entropy."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Method, Rollouts, State, Treatment


class EntropyAdvantage(Method):
    """Entropy-shaped advantages: an uncertain token's advantage grows, by at most a share of its size.

    Equation: A'_t = A_t + min(alpha sg(H_t), |A_t| / kappa); then the clipped surrogate with A'.

    Source: Cheng et al., "Reasoning with Exploration: An Entropy Perspective", arXiv 2506.14758, section 3.

    Defaults: alpha = 0.4, kappa = 2, the paper's for GRPO (its alpha for PPO is 0.1). So a positive advantage grows by half at most, a
    negative one keeps its sign, and a group without a spread of rewards gets nothing. The paper clips at 0.2 / 0.28 (TRL: epsilon_high).

    Deviations: H_t is that of the policy at the rollout; the paper takes it from the pass that is being trained on. The two are the same
    at the first update after a rollout.

    Limits: TRL's `importance_sampling_level` must be token: through the ratio of a sequence, all of
    its tokens share what is added to one of them.
    """

    name: Literal["entropy_advantage"] = "entropy_advantage"
    alpha: float = Field(0.4, ge=0, description="advantage added for each nat of entropy")
    kappa: float = Field(2.0, gt=0, description="the addition is at most |A| / kappa")

    @property
    def weighs_tokens(self) -> bool:
        return True

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        bonus = torch.minimum(self.alpha * rollouts.entropies, rollouts.advantages.abs() / self.kappa)
        return Treatment(
            advantages=rollouts.advantages + bonus,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=torch.zeros_like(rollouts.advantages),
        )
