"""KL-Cov: a penalty on the tokens of highest covariance."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from sent_rl.methods.base import UNCLIPPED, Method, Rollouts, Scope, State, Treatment


class KlCov(Method):
    """KL-Cov: the tokens of highest covariance are held near the policy that sampled them; nothing is clipped.

    Equation: -r_t A_t for every token, plus beta |log pi - log pi_old| on the top max(1, floor(kappa N)) tokens by
    cov_t = (A_t - mean A) (log pi(o_t) - mean log pi).

    Source: Cui et al., "The Entropy Mechanism of RL", arXiv 2505.22617, section 4.

    Defaults: kappa = 2e-3 (its scripts for 7B; 2e-4 for 32B), beta = 1 (paper and scripts; verl's configuration says 0.1), no clip.

    Deviations: covariance and selection are over the step's rollout, ties all taken; the published code takes exactly k over each
    micro-batch at every forward pass: `scope: micro_batch`. The penalty has no gradient at the first update after a rollout, so the method
    needs several. Where all advantages are equal there is no covariance, and no token is penalised;
    the published code penalises k arbitrary ones.

    Limits: the loss must be one that clips the ratio (TRL: dapo, grpo, bnpo, dr_grpo or luspo),
    TRL's `importance_sampling_level` must be token, and its `delta` unset.
    """

    selects_by_covariance: ClassVar[bool] = True

    name: Literal["kl_cov"] = "kl_cov"
    top_fraction: float = Field(2e-3, gt=0, le=1, description="share of all response tokens that is penalised")
    beta: float = Field(1.0, ge=0, description="coefficient of the penalty")
    ppo_clip: float | None = Field(None, gt=0, description="clip range of the surrogate; null for none, as published")
    scope: Scope = Field("step", description="step, or micro_batch as published")

    @property
    def anchor(self) -> Literal["old"]:
        return "old"

    @property
    def clip(self) -> tuple[float, float]:
        return UNCLIPPED if self.ppo_clip is None else (self.ppo_clip, self.ppo_clip)

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        top = rollouts.most_covariant(rollouts.mask, self.top_fraction)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=torch.zeros_like(rollouts.advantages).masked_fill(top, self.beta),
            anchor=self.anchor,
            kl_estimator="abs",
            kl_importance=False,
            clip=self.clip,
            selections={"high_covariance": top},
        )
