"""The entropy bonus, fixed or controlled."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Method, Rollouts, State, Treatment


class EntropyBonus(Method):
    """Entropy bonus: the mean entropy of the policy, times a coefficient, is added to the objective.

    Equation: maximise mean_t [ min(r_t A, clip(r_t) A) + c H_t ], gradient through H_t. Adaptive: with e = -mean log pi_old(o_t) of the
    step, the bonus acts only where e < target; after the step c moves by +delta if e < target, else by -delta, inside [min, max].

    Source: fixed: Mnih et al., arXiv 1602.01783, section 4; c = 1e-3 was verl's default for years, and is the "w/ En" of SENT
    (arXiv 2512.04359). Adaptive: He et al., Skywork-OR1, arXiv 2505.22312, with the constants of its scripts (start 0, target 0.2 nats,
    delta 1e-4, max 5e-3).

    Defaults: fixed, c = 1e-3. `adaptive: true` starts at `adaptive_start` and ignores `coef`.

    Deviations: the bonus has the denominator of the policy loss (verl's way; TRL's own `entropy_coef` averages a micro-batch's tokens).
    The measured e is over all ranks and micro-batches of a rollout.
    """

    name: Literal["entropy_bonus"] = "entropy_bonus"
    coef: float = Field(1e-3, ge=0, description="fixed coefficient")
    adaptive: bool = Field(False, description="let the controller choose the coefficient")
    adaptive_start: float = Field(0.0, ge=0, description="the controller's first coefficient")
    target: float = Field(0.2, ge=0, description="entropy to hold, nats a token")
    delta: float = Field(1e-4, gt=0, description="step of the controller")
    coef_min: float = Field(0.0, ge=0, description="lower bound of the controlled coefficient")
    coef_max: float = Field(5e-3, ge=0, description="upper bound of the controlled coefficient")

    @property
    def needs_stats(self) -> bool:
        return self.adaptive

    @property
    def has_entropy_bonus(self) -> bool:
        return True

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        coef, new_state = self.coef, dict[str, float]()
        if self.adaptive:
            controlled = (state or {}).get("coef", self.adaptive_start)
            entropy = -(rollouts.logps.sum() / rollouts.mask.sum().clamp(min=1)).item()
            below = entropy < self.target
            coef = controlled if below else 0.0
            moved = controlled + (self.delta if below else -self.delta)
            new_state = {"coef": min(max(moved, self.coef_min), self.coef_max)}
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=torch.zeros_like(rollouts.advantages),
            entropy_coef=coef,
            state=new_state,
        )
