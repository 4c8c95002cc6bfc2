"""GRPO: the baseline that every other method changes."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Estimator, Method, Rollouts, State, Treatment


class Grpo(Method):
    """GRPO: clipped surrogate with group-normalised advantages, and one KL coefficient for all tokens.

    Equation: maximise mean_t [ min(r_t A, clip(r_t, 1-eps, 1+eps) A) - beta KL_t(pi || pi_ref) ], r_t = pi / pi_old.

    Source: Shao et al., DeepSeekMath, arXiv 2402.03300, eq. 3.

    Defaults: beta = 0, as TRL and verl have it today (the paper: 0.04). eps, the aggregation over tokens and the normalisation of
    advantages are the trainer's (TRL: epsilon, loss_type, scale_rewards).

    Deviations: the paper's estimator is plain k3; here the ratio pi / pi_old multiplies it (TRL's `use_bias_correction_kl`), which makes
    its gradient that of KL(pi || pi_ref). `kl_importance: false` gives the paper's. The ratio is the token's, also where the surrogate's is
    the sequence's (TRL's `importance_sampling_level`).
    """

    name: Literal["grpo"] = "grpo"
    beta: float = Field(0.0, ge=0, description="KL coefficient of every token")
    kl_estimator: Estimator = Field("k3", description="k1, k2, k3 or abs")
    kl_importance: bool = Field(True, description="multiply the estimate by pi / pi_old")

    @property
    def needs_stats(self) -> bool:
        return False

    @property
    def needs_reference(self) -> bool:
        return self.beta > 0

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        valid = rollouts.mask.to(rollouts.advantages.dtype)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(valid),
            kl_coef=self.beta * valid,
            kl_estimator=self.kl_estimator,
            kl_importance=self.kl_importance,
        )
