"""The entropy bonus, fixed or controlled."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from sent_rl.methods.base import Method, Rollouts, State, Treatment


class EntropyBonus(Method):
    """Entropy bonus: the mean entropy of the policy, times a coefficient, is added to the objective.

    Equation: maximise mean_t [ min(r_t A, clip(r_t) A) + c H_t ], gradient through H_t. Adaptive: let
    e be the -mean log pi_old(o_t) of a rollout. For the next rollout, c moves by +delta if
    e < target, else by -delta, inside [min, max], and the bonus acts only if e < target.

    Source: fixed: c = 1e-3 was verl's default for years, and is the "w/ En" of SENT (arXiv 2512.04359). Adaptive: He et al., Skywork-OR1,
    arXiv 2505.22312, with the constants of its scripts (start 0, target 0.2 nats, delta 1e-4, max 5e-3).

    Defaults: fixed, c = 1e-3. `adaptive: true` starts at `adaptive_start` and ignores `coef`.

    Deviations: the bonus has the denominator of the policy loss (verl's way; TRL's own `entropy_coef` averages a micro-batch's tokens).
    The measured e is over all ranks and micro-batches of a rollout. That a rollout's entropy decides
    about the next rollout is the published code's rule; the first one gets `adaptive_start`.

    Limits: TRL's `entropy_coef` must be 0 and its `use_adaptive_entropy` off: they would add a second
    bonus.
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

    @property
    def state_keys(self) -> frozenset[str]:
        return frozenset({"coef", "below_target"}) if self.adaptive else frozenset()

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        known = (state or {"coef": self.adaptive_start, "below_target": 1.0}) if self.adaptive else {}
        return Treatment(
            advantages=rollouts.advantages,
            policy_weight=torch.ones_like(rollouts.advantages),
            kl_coef=torch.zeros_like(rollouts.advantages),
            entropy_coef=known["coef"] * known["below_target"] if self.adaptive else self.coef,
            state=self._moved(known, rollouts) if self.adaptive and rollouts.mask.any() else known,
        )

    def _moved(self, known: State, rollouts: Rollouts) -> State:
        """What the entropy of these rollouts decides about the next ones."""
        entropy = -(rollouts.logps.sum() / rollouts.mask.sum()).item()
        below = entropy < self.target
        coef = known["coef"] + (self.delta if below else -self.delta)
        return {"coef": min(max(coef, self.coef_min), self.coef_max), "below_target": float(below)}
