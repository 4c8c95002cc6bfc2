"""SENT's token level: a KL penalty where the policy is sure of itself, stronger where it is getting surer."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Anchor, Estimator, Method, Rollouts, State, Treatment
from sent_rl.tokens import lowest


class Sent(Method):
    """SENT: a KL penalty on the low-entropy tokens, stronger on those of them whose covariance is high.

    Equation: T_low = {t : H_t <= tau_H}, cov_t = (log pi(o_t) - mean log pi) (A_t - mean A), T_high = {t in T_low : cov_t >= tau_cov};
    maximise mean_t [ min(r_t A, clip(r_t, 1-eps, 1+eps) A) - beta_t KL_t(pi || pi_ref) ], beta_t = beta_high on T_high, beta_low on the
    rest of T_low, 0 elsewhere.

    Source: Cao et al., SENT, arXiv 2512.04359, token-level optimisation. Its data level is the curriculum (`sent score`, `sent stage`).

    Defaults: the paper's values for tau and beta could not be found. tau_H: the lowest 80 % of all response tokens of the step, as in
    its code. tau_cov: the highest 1 % of T_low; beta 0.01 and 0.1: ours. KL by k2 with the ratio held fixed as a weight: its gradient is
    that of KL(pi || pi_ref) for any number of updates a rollout.

    Deviations: shares are exact, over the whole step (all micro-batches and ranks), ties at a threshold all taken. The published code does
    something else in six places: `sent_as_published`. `anchor: old` takes the KL to the sampling policy, and is then without effect on the
    first update after each rollout. A selection by covariance depends on the sampled token, so on T_high the penalty is a regulariser on
    chosen tokens rather than an unbiased KL.

    Limits: where all advantages of a step are equal there is no covariance. T_high is then empty, and
    all of T_low gets beta_low. Where only some groups have a spread of rewards, the tokens of the
    others have advantage 0 and compete for T_high with the covariance that the equation gives them.
    """

    selects_by_covariance: ClassVar[bool] = True

    name: Literal["sent"] = "sent"
    low_entropy_fraction: float = Field(0.8, ge=0, le=1, description="share of all response tokens that counts as low entropy")
    high_covariance_fraction: float = Field(0.01, ge=0, le=1, description="share of the low-entropy tokens that gets beta_high")
    beta_low: float = Field(0.01, ge=0, description="KL coefficient of low-entropy tokens")
    beta_high: float = Field(0.1, ge=0, description="KL coefficient of low-entropy tokens of high covariance")
    kl_estimator: Estimator = Field("k2", description="k1, k2, k3 or abs")
    kl_importance: bool = Field(True, description="multiply the estimate by pi / pi_old")
    anchor: Anchor = Field("reference", description="reference or old: which policy the KL is taken to")

    @property
    def needs_reference(self) -> bool:
        return self.anchor == "reference" and (self.beta_low > 0 or self.beta_high > 0)

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        low = lowest(rollouts.entropies, rollouts.mask, self.low_entropy_fraction)
        high = rollouts.most_covariant(low, self.high_covariance_fraction)
        kl_coef = torch.zeros_like(rollouts.advantages).masked_fill(low, self.beta_low).masked_fill(high, self.beta_high)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=kl_coef,
            anchor=self.anchor,
            kl_estimator=self.kl_estimator,
            kl_importance=self.kl_importance,
            selections={"low_entropy": low, "high_covariance": high},
        )
