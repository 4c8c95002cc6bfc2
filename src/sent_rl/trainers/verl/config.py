"""The typed configuration of the policy loss: ``actor.policy_loss._target_=sent_rl.trainers.verl.config.SENTPolicyLossConfig``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from verl.workers.config import PolicyLossConfig

from sent_rl.answers import STATED_STRATEGIES
from sent_rl.curriculum.entropy import Unparsed
from sent_rl.methods import Method, resolve


@dataclass
class SENTPolicyLossConfig(PolicyLossConfig):
    """Everything of verl's policy loss, whose ``loss_mode`` keeps working, plus:

    Args:
        method: a name, or a mapping with ``name`` and options; on the command line ``+...policy_loss.method.name=sent
            +...policy_loss.method.beta_high=0.2``. See :func:`sent_rl.methods.names`.
        stage_passes: how often every stage of the curriculum is gone through; ``trainer.total_training_steps`` overrides it.
        extract: how a final answer is found in a response, for methods whose curriculum follows the rollouts.
        thoughts: whether an answer inside ``<think>...</think>`` counts there.
        unparsed: how responses without an answer are clustered there; see :func:`sent_rl.curriculum.semantic_entropy`.
    """

    method: Any = "sent"
    stage_passes: int = 1
    extract: list[str] = field(default_factory=lambda: list(STATED_STRATEGIES))
    thoughts: bool = False
    unparsed: Unparsed = "separate"

    def resolved(self) -> Method:
        """The method.

        Raises:
            UserError: an unknown one, or an option that it does not have.
        """
        return resolve(self.method if isinstance(self.method, str) else dict(self.method))
