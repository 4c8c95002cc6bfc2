"""TRL's GRPO configuration, and what is ours."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, get_args

from trl import GRPOConfig

from sent_rl.answers import STATED_STRATEGIES
from sent_rl.config import StageReset
from sent_rl.curriculum.entropy import Unparsed
from sent_rl.errors import UserError, nearest
from sent_rl.methods import resolve

STAGE_RESETS = get_args(StageReset)


@dataclass
class SENTConfig(GRPOConfig):
    """Everything that TRL's ``GRPOConfig`` takes, with the same defaults, plus:

    Args:
        method: a name (``"sent"``), or ``{"name": "sent", "beta_high": 0.2, ...}``, or that as JSON; see :func:`sent_rl.methods.names`.
        stage_reset: what every stage after the first starts anew: any of ``optimizer`` (its moments), ``schedule`` (warm-up and decay of
            the learning rate) and ``reference`` (becomes the policy as it stands). The default resets nothing: one continuous run, the
            KL always to the initial policy. All three together are what SENT's authors did by starting a new run a stage.

        extract: how a final answer is found in a response, for methods whose curriculum follows the rollouts (``sent_rl.answers``).
        thoughts: whether an answer inside ``<think>...</think>`` counts there.
        opened: whether prompts end in an open ``<think>``; None: as their last tokens say.
        unparsed: how responses without an answer are clustered there; see :func:`sent_rl.curriculum.semantic_entropy`.
        track_reference: keep a reference policy to log the KL to it, also where the method needs none.

    With a ``stage`` column in the training set, ``num_train_epochs`` counts the passes over each stage, and ``max_steps`` is shared out
    among the stages in proportion to their size.

    TRL's ``beta`` keeps its meaning: a KL coefficient on every token, on top of what the method does.

    Raises:
        UserError: an unknown method or option, an unknown ``stage_reset``, or a learning rate that is not a number.
    """

    # In this order and with None, the command-line parser of transformers takes it as text.
    method: dict[str, Any] | str | None = field(default="sent", metadata={"help": "Method name, or JSON with name and options."})
    stage_reset: list[str] = field(
        default_factory=list, metadata={"help": "What each stage after the first resets: optimizer, schedule, reference."}
    )
    extract: list[str] = field(
        default_factory=lambda: list(STATED_STRATEGIES), metadata={"help": "Strategies that find the final answer in a response."}
    )
    thoughts: bool = field(default=False, metadata={"help": "Look for the final answer inside <think>...</think> too."})
    opened: bool | None = field(default=None, metadata={"help": "Prompts end in an open <think>; unset: as they read."})
    unparsed: Unparsed = field(
        default="separate", metadata={"help": "Responses without an answer: a cluster each (separate) or one in all (shared)."}
    )
    track_reference: bool = field(default=False, metadata={"help": "Log the KL to the initial policy also where no method needs it."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.method, str) and self.method.lstrip().startswith("{"):
            try:
                self.method = json.loads(self.method)
            except json.JSONDecodeError as error:
                raise UserError(f"method: not JSON ({error})") from error
        self.method = resolve(self.method or "sent").model_dump()
        for name in self.stage_reset:
            if name not in STAGE_RESETS:
                raise UserError(f"stage_reset: {name!r}; {nearest(name, STAGE_RESETS)}")
        if not math.isfinite(self.learning_rate) or self.learning_rate < 0:
            raise UserError(f"learning_rate: {self.learning_rate}; must be a finite number, 0 or more")

    @property
    def micro_steps_per_rollout(self) -> int:
        """How many micro-batches are trained on between two rollouts."""
        return int(self.steps_per_generation) * int(self.num_iterations)

    @property
    def updates_per_rollout(self) -> float:
        """How many optimizer steps are taken between two rollouts; below 1 where several rollouts make one step."""
        return self.micro_steps_per_rollout / int(self.gradient_accumulation_steps)
