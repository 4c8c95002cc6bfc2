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

    Equation: SENT's, with s beta_low and s beta_high. s starts at 1, and after every rollout
    s <- s exp(gain (1 - H / (f H_0))), inside [1 / scale_max, scale_max]. H: mean token entropy of
    the rollout. f: the share to hold. H_0: the highest H so far of a stage's first rollout.

    Source: ours; no paper. The idea of a controlled regulariser is that of Skywork-OR1 (arXiv 2505.22312).

    Defaults: f = 0.5, gain = 0.1, scale_max = 20; SENT's otherwise.

    Deviations: none; there is nothing to deviate from.

    Limits: H_0 stands for the initial policy's entropy on the problems of the current stage. Training
    measures it for the first stage only: a later stage begins with a trained policy. A later stage
    that begins above H_0 raises it. One that begins below leaves it as it is: its lower start is what
    training has cost, and a share of it would lower the target at every stage. In the arithmetic
    study the initial policy has 0.153 and 0.165 nats on the problems of the two stages, and the
    trained one begins the second stage at 0.09. Where later problems are the easier ones for the
    initial policy, H_0 stays too high. As with every penalty towards the reference, entropy can be
    held up only as far as the reference has it.
    """

    name: Literal["sent_adaptive"] = "sent_adaptive"  # type: ignore[assignment]
    entropy_fraction: float = Field(0.5, gt=0, description="share of H_0 to hold")
    gain: float = Field(0.1, gt=0, description="how fast the scale moves")
    scale_max: float = Field(20.0, ge=1, description="the scale stays between 1 / scale_max and this")

    @property
    def state_keys(self) -> frozenset[str]:
        return frozenset({"start", "scale", "stage"})

    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        known = state or {"start": 0.0, "scale": 1.0, "stage": -1.0}  # of no stage yet
        treatment = super().treat(rollouts)
        return dataclasses.replace(
            treatment,
            kl_coef=known["scale"] * treatment.kl_coef,
            state=self._moved(known, rollouts) if rollouts.mask.any() else known,
        )

    def _moved(self, known: State, rollouts: Rollouts) -> State:
        """H_0 and the scale after these rollouts, which may be the first ones of their stage."""
        entropy, start = (rollouts.entropies.sum() / rollouts.mask.sum()).item(), known["start"]
        if rollouts.stage != known["stage"]:
            start = max(start, entropy)
        missing = 1 - entropy / (self.entropy_fraction * start) if start > 0 else 0.0
        scale = known["scale"] * math.exp(self.gain * missing)
        scale = min(max(scale, 1 / self.scale_max), self.scale_max)
        return {"start": start, "scale": scale, "stage": float(rollouts.stage)}
