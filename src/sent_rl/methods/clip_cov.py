"""Clip-Cov: some tokens of high covariance are not learned from."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Method, Rollouts, Scope, State, Treatment
from sent_rl.tokens import share_count


class ClipCov(Method):
    """Clip-Cov: a few tokens, drawn at random among those of high covariance, give no gradient.

    Equation: of the tokens with low < cov_t < high, draw max(1, floor(r N)) without replacement (N: response tokens) and multiply their
    surrogate by 0; the denominator stays. cov_t = (A_t - mean A) (log pi(o_t) - mean log pi).

    Source: Cui et al., "The Entropy Mechanism of RL", arXiv 2505.22617, section 4.

    Defaults: r = 2e-4, 1 < cov < 5, and the surrogate's own clip at 1 (that is, [0, 2]), as in its scripts. The band presumes advantages
    of unit standard deviation: rescale it for `scale_rewards: none`.

    Deviations: covariance and draw are over the step's rollout; the published code takes them over each micro-batch at every forward
    pass, and skips tokens that the clip already holds back (at the rollout there are none): `scope: micro_batch` does the former. The draw
    follows from `seed` and the step, so that every rank makes the same one.

    Limits: where all advantages are equal there is no covariance, and no token is drawn. TRL's
    `importance_sampling_level` must be token. With a loss that does not clip the ratio (TRL: cispo,
    sapo, vespo), `ppo_clip` must be null.
    """

    selects_by_covariance: ClassVar[bool] = True

    name: Literal["clip_cov"] = "clip_cov"
    clip_fraction: float = Field(2e-4, gt=0, le=1, description="share of all response tokens that is drawn")
    cov_low: float = Field(1.0, description="covariance above which a token may be drawn")
    cov_high: float = Field(5.0, description="covariance below which a token may be drawn")
    ppo_clip: float | None = Field(1.0, gt=0, description="clip range of the surrogate; null for the trainer's")
    seed: int = Field(0, description="of the draw")
    scope: Scope = Field("step", description="step, or micro_batch as published")

    @property
    def clip(self) -> tuple[float, float] | None:
        return None if self.ppo_clip is None else (self.ppo_clip, self.ppo_clip)

    @property
    def weighs_tokens(self) -> bool:
        return True

    @property
    def state_keys(self) -> frozenset[str]:
        return frozenset({"step"})

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        step = int((state or {}).get("step", 0))
        covariance = rollouts.covariance()
        inside = rollouts.mask & (covariance > self.cov_low) & (covariance < self.cov_high)
        # a band around 0 would hold every token of a step without spread
        candidates = (inside & rollouts.has_spread).flatten().nonzero()[:, 0]
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        count = share_count(self.clip_fraction, int(rollouts.mask.sum()))
        drawn = candidates[torch.randperm(len(candidates), generator=rng)[:count].to(candidates.device)]
        clipped = torch.zeros_like(rollouts.mask).flatten().index_fill(0, drawn, True).view_as(rollouts.mask)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=(~clipped).to(rollouts.advantages.dtype),
            kl_coef=torch.zeros_like(rollouts.advantages),
            clip=self.clip,
            selections={"clipped_covariance": clipped},
            state={"step": step + 1.0},
        )
