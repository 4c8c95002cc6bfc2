"""What a method is: a pure function from the rollouts of one step to a treatment of their tokens."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from sent_rl.tokens import highest

Anchor = Literal["reference", "old"]
Estimator = Literal["k1", "k2", "k3", "abs"]
Scope = Literal["step", "micro_batch"]
State = dict[str, float]

UNCLIPPED = (math.inf, math.inf)


@dataclass
class Rollouts:
    """All response tokens of one step, over every micro-batch and every rank: B responses of at most T tokens.

    Attributes:
        logps: (B, T) log-probs of the sampled tokens under the policy that is about to be trained, nats.
        entropies: (B, T) entropies of that policy's distributions at those tokens, nats.
        advantages: (B, T), or (B,) for one advantage a response.
        mask: (B, T), true or 1 at the response's tokens.
        stage: number of the curriculum's stage that the problems belong to; 0 without a curriculum.

    What stands where ``mask`` is 0 never matters: it is set to 0 on entry, nan included. Nothing carries a gradient.
    """

    logps: Tensor
    entropies: Tensor
    advantages: Tensor
    mask: Tensor
    stage: int = 0

    def __post_init__(self) -> None:
        self.mask = self.mask.bool()
        if self.advantages.dim() == 1:
            self.advantages = self.advantages[:, None].expand(self.mask.shape)
        for name in ("logps", "entropies", "advantages"):
            values: Tensor = getattr(self, name)
            if values.shape != self.mask.shape:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, mask has {tuple(self.mask.shape)}")
            setattr(self, name, values.detach().where(self.mask, torch.zeros((), dtype=values.dtype, device=values.device)))

    @classmethod
    def without_stats(cls, advantages: Tensor, mask: Tensor) -> Rollouts:
        """For methods whose ``needs_stats`` is False: log-probs and entropies are zeros that nobody reads."""
        zeros = torch.zeros(mask.shape, dtype=advantages.dtype, device=mask.device)
        return cls(zeros, zeros, advantages, mask)

    def covariance(self) -> Tensor:
        """(B, T) ``(logp - mean logp) * (advantage - mean advantage)``, means over all valid tokens; 0 elsewhere.

        Entropy changes by about minus the learning rate times its mean (Cui et al. 2505.22617).
        """
        if not self.has_spread:  # the mean of equal numbers may round to another one
            return torch.zeros_like(self.advantages)
        count = self.mask.sum().clamp(min=1)
        centred = [(x - x.sum() / count) * self.mask for x in (self.logps, self.advantages)]
        return centred[0] * centred[1]

    @property
    def has_spread(self) -> bool:
        """Whether any two response tokens differ in their advantage; else there is no covariance."""
        advantages = self.advantages[self.mask]
        return bool(advantages.numel()) and bool(advantages.min() != advantages.max())

    def most_covariant(self, among: Tensor, fraction: float) -> Tensor:
        """The share of the tokens ``among`` (B, T) with the highest covariance, as a bool mask.

        Ties at the threshold are all taken. Without a spread of advantages nothing is: there every
        covariance is 0, and all tokens would tie.
        """
        return highest(self.covariance(), among, fraction) if self.has_spread else among & False


@dataclass
class Treatment:
    """What the objective does with each token. Every tensor is (B, T); see :func:`sent_rl.objective.policy_loss`.

    Attributes:
        advantages: what the surrogate uses instead of the rollouts' advantages.
        policy_weight: factor on the token's surrogate.
        kl_coef: factor on the token's KL penalty; 0 for none.
        anchor: which policy the KL is taken to: ``reference`` (frozen) or ``old`` (the one that sampled).
        kl_estimator: k1, k2, k3 or abs; ``kl_importance`` multiplies it by the ratio pi / pi_old (see ``objective.kl_estimate``).
        clip: (low, high) of the surrogate instead of the trainer's; ``UNCLIPPED`` for none, None to leave it to the trainer.
        entropy_coef: factor on the mean entropy that is added to the objective.
        selections: named bool masks of the tokens that the method picked, for the metrics.
        state: what the method wants to be given at the next step; plain numbers, so that a checkpoint can hold them.
    """

    advantages: Tensor
    policy_weight: Tensor
    kl_coef: Tensor
    anchor: Anchor = "reference"
    kl_estimator: Estimator = "k2"
    kl_importance: bool = True
    clip: tuple[float, float] | None = None
    entropy_coef: float = 0.0
    selections: dict[str, Tensor] = field(default_factory=dict)
    state: State = field(default_factory=dict)


class Method(BaseModel, ABC):
    """A method's options, and the treatment that follows from them. Subclasses are one file each; their docstring is the card."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    online_curriculum: ClassVar[bool] = False
    """Whether the order of the problems follows the semantic entropy of the training rollouts."""
    selects_by_covariance: ClassVar[bool] = False
    """Whether tokens are picked by covariance, which needs responses with different advantages."""

    name: str

    @abstractmethod
    def treat(self, rollouts: Rollouts, state: State | None = None) -> Treatment:
        """The treatment of one step's tokens.

        Args:
            rollouts: all response tokens of the step.
            state: the ``state`` of the step before, None at the first one. Only methods with a controller or a random draw read it.
        """

    @property
    def selection_scope(self) -> Scope:
        """What a selection is taken over: the whole step, or each micro-batch on its rank at every forward pass, as published code does.

        Methods whose source does the latter have an option ``scope``.
        """
        scope: Scope = getattr(self, "scope", "step")
        return scope

    @property
    def clip(self) -> tuple[float, float] | None:
        """(low, high) that its treatments put in the place of the trainer's clip range, or None."""
        return None

    @property
    def weighs_tokens(self) -> bool:
        """Whether a treatment gives tokens of one response different weights or advantages."""
        return False

    @property
    def state_keys(self) -> frozenset[str]:
        """The names in a treatment's ``state``. A resumed run needs them back."""
        return frozenset()

    @property
    def needs_stats(self) -> bool:
        """Whether ``treat`` reads log-probs and entropies, which may cost a forward pass."""
        return True

    @property
    def needs_reference(self) -> bool:
        """Whether a treatment may put a KL to the reference policy on some token."""
        return False

    @property
    def has_entropy_bonus(self) -> bool:
        """Whether a treatment may have an entropy coefficient, so that the loss needs entropies with gradient."""
        return False

    @classmethod
    def card(cls) -> str:
        """The paper card: what it does, equation, source, defaults, deviations."""
        return inspect.cleandoc(cls.__doc__ or "")
