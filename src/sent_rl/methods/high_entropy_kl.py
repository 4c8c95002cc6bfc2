"""The opposite of SENT: the penalty where the policy is unsure."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Anchor, Estimator, Method, Rollouts, State, Treatment
from sent_rl.tokens import highest


class HighEntropyKl(Method):
    """High-entropy KL: SENT's penalty put on the tokens of high entropy instead; a control.

    Equation: maximise mean_t [ min(r_t A, clip(r_t) A) - beta 1{H_t >= tau} KL_t(pi || pi_ref) ].

    Source: the ablation "High_En" of SENT, arXiv 2512.04359, which neither defines nor cites it; this is our reading.

    Defaults: the top 20 % of all response tokens of the step (what SENT's 80 % leaves), beta = 0.01 as SENT's beta_low, and SENT's
    estimator.

    Deviations: none that could be known.
    """

    name: Literal["high_entropy_kl"] = "high_entropy_kl"
    top_fraction: float = Field(0.2, gt=0, le=1, description="share of all response tokens that is penalised")
    beta: float = Field(0.01, ge=0, description="KL coefficient of those tokens")
    kl_estimator: Estimator = Field("k2", description="k1, k2, k3 or abs")
    kl_importance: bool = Field(True, description="multiply the estimate by pi / pi_old")
    anchor: Anchor = Field("reference", description="reference or old: which policy the KL is taken to")

    @property
    def needs_reference(self) -> bool:
        return self.anchor == "reference" and self.beta > 0

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        top = highest(rollouts.entropies, rollouts.mask, self.top_fraction)
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=torch.zeros_like(rollouts.advantages).masked_fill(top, self.beta),
            anchor=self.anchor,
            kl_estimator=self.kl_estimator,
            kl_importance=self.kl_importance,
            selections={"high_entropy": top},
        )
