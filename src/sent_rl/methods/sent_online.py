"""SENT with a curriculum that follows the policy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sent_rl.methods.sent import Sent


class SentOnline(Sent):
    """SENT, online: SENT's tokens, and a curriculum that re-estimates semantic entropy from the training rollouts themselves.

    Equation: SENT's. After each rollout, H_SE(q) <- H_SE(q) + smoothing (new - H_SE(q)), new from the G answers that were sampled for
    training anyway; every batch is drawn from the problems whose latest rank by H_SE falls into the current stage, least drawn first.

    Source: ours; no paper. The estimate is SENT's (arXiv 2512.04359) with M = G, the discrete one of Farquhar et al. 2024.

    Defaults: smoothing = 1 (the latest rollout alone); a response without an answer is a cluster of its own. Starts from the column
    `semantic_entropy` of the training set, 0 where there is none. SENT's otherwise.

    Deviations: none; there is nothing to deviate from. With accelerate's look-ahead a batch is drawn one rollout before it is used, so an
    estimate counts from the batch after the next.
    """

    online_curriculum: ClassVar[bool] = True

    name: Literal["sent_online"] = "sent_online"  # type: ignore[assignment]
    smoothing: float = Field(1.0, gt=0, le=1, description="weight of a new estimate of semantic entropy")
