"""What a method does that verl has to know: found out by letting it treat a made-up step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from sent_rl.methods import Method, Rollouts, Treatment

_ROWS, _LENGTH = 8, 125
_SELECTIONS = {"low_entropy": "lowest", "high_entropy": "highest"}
"""A treatment's selections by entropy, and the end of the order that they take."""


@dataclass(frozen=True)
class EntropyUse:
    """How a treatment depends on entropies.

    Attributes:
        side: which end of the order is selected; None for methods that use the values themselves.
        share: of all response tokens, 0 to 1.
    """

    side: Literal["lowest", "highest"] | None
    share: float


@dataclass(frozen=True)
class Traits:
    """
    Attributes:
        entropy: how the treatment depends on entropies; None where it does not.
        clips: whether the method sets the surrogate's clip range itself, "no clip" included.
        remembers: whether the driver keeps a state of the method from one step to the next.
    """

    entropy: EntropyUse | None
    clips: bool
    remembers: bool


def traits(method: Method) -> Traits:
    """The traits of a method with its options."""
    rng = torch.Generator().manual_seed(0)
    logps, entropies, advantages = torch.rand(3, _ROWS, _LENGTH, generator=rng).unbind()
    mask = torch.ones(_ROWS, _LENGTH)
    first, second = (method.treat(Rollouts(-logps, values, advantages, mask)) for values in (entropies, entropies.flip(0, 1)))
    return Traits(
        entropy=None if _same(first, second) else _entropy_use(first),
        clips=first.clip is not None,
        remembers=bool(first.state) and method.selection_scope == "step",
    )


def _same(first: Treatment, second: Treatment) -> bool:
    """Whether both treatments have the same loss and select the same tokens."""
    columns = [(t.advantages, t.policy_weight, t.kl_coef, *t.selections.values()) for t in (first, second)]
    return all(torch.equal(*pair) for pair in zip(*columns, strict=True))


def _entropy_use(treatment: Treatment) -> EntropyUse:
    for name, side in _SELECTIONS.items():
        if name in treatment.selections:
            share = treatment.selections[name].double().mean().item()
            return EntropyUse("lowest" if side == "lowest" else "highest", share)
    return EntropyUse(None, 1.0)
