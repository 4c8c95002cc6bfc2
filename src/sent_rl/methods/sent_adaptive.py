"""SENT with a controller that holds the policy's entropy."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from pydantic import Field

from sent_rl.methods.base import Rollouts, State, Treatment
from sent_rl.methods.sent import Sent


class SentAdaptive(Sent):
    """SENT, adaptive: both betas are scaled by a controller that holds the entropy at a share of its start.

    Equation: SENT's, with s beta_low and s beta_high; s starts at 1, and after every rollout s <- s exp(gain (1 - H / (f H_0))), inside
    [1 / scale_max, scale_max]. H: mean entropy of the rollout; H_0: that of the first one; f: the share to hold.

    Source: ours; no paper. The idea of a controlled regulariser is that of Skywork-OR1 (arXiv 2505.22312).

    Defaults: f = 0.5, gain = 0.1, scale_max = 20; SENT's otherwise.

    Deviations: none; there is nothing to deviate from. As with every penalty towards the reference, entropy can be held up only as far
    as the reference has it.
    """

    name: Literal["sent_adaptive"] = "sent_adaptive"  # type: ignore[assignment]
    entropy_fraction: float = Field(0.5, gt=0, description="share of the first rollout's entropy to hold")
    gain: float = Field(0.1, gt=0, description="how fast the scale moves")
    scale_max: float = Field(20.0, ge=1, description="the scale stays between 1 / scale_max and this")

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        entropy = (rollouts.entropies.sum() / rollouts.mask.sum().clamp(min=1)).item()
        start, scale = (state or {}).get("start", entropy), (state or {}).get("scale", 1.0)
        treatment = super().treat(rollouts)
        missing = 1 - entropy / (self.entropy_fraction * start) if start > 0 else 0.0
        moved = min(max(scale * math.exp(self.gain * missing), 1 / self.scale_max), self.scale_max)
        return dataclasses.replace(treatment, kl_coef=scale * treatment.kl_coef, state={"start": start, "scale": moved})
