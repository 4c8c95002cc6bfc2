"""Batches as verl's workers see them: nested responses, full-sequence model output, facts beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils

from sent_rl.methods import Method, Rollouts, Treatment
from sent_rl.trainers.verl.loss import FACTS, KL_COEF, STEP, fact_name

RESPONSES = (7, 4, 9, 1, 6, 8)
"""Their lengths in a random step."""


@dataclass
class Step:
    """One step's batch, padded (B, T): log-probs of four policies, entropies, advantages."""

    mask: Tensor
    old: Tensor
    new: Tensor
    reference: Tensor
    entropies: Tensor
    new_entropies: Tensor
    advantages: Tensor

    @classmethod
    def random(cls, seed: int = 0) -> Step:
        g = torch.Generator().manual_seed(seed)
        rows, longest = len(RESPONSES), max(RESPONSES)

        def noise(scale: float) -> Tensor:
            return scale * torch.randn(rows, longest, generator=g, dtype=torch.float64)

        mask = torch.arange(longest) < torch.tensor(RESPONSES)[:, None]
        old = -noise(1.0).abs()
        advantages = (torch.randn(rows, 1, generator=g, dtype=torch.float64) * mask).double()
        entropies = noise(1.0).abs()
        return cls(mask, old, old + noise(0.2), old + noise(0.3), entropies, entropies + noise(0.1), advantages)

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """(prompt, response) of every row; the prompts' are made up."""
        return [(1 + i * 2 % 5, int(row.sum())) for i, row in enumerate(self.mask)]

    def rollouts(self) -> Rollouts:
        return Rollouts(self.old, self.entropies, self.advantages, self.mask)


def nested(values: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
    return torch.nested.as_nested_tensor([values[i, :length] for i, length in zip(rows, lengths, strict=True)], layout=torch.jagged)


def full_sequences(step: Step, values: Tensor, rows: list[int]) -> Tensor:
    """Response values where a model puts them: one place before each response token, behind the prompt; nonsense elsewhere."""
    sequences = []
    for i in rows:
        prompt, response = step.lengths[i]
        sequences.append(torch.cat([torch.full((prompt - 1,), 7.0, dtype=values.dtype), values[i, :response], torch.full((1,), 7.0)]))
    return torch.nested.as_nested_tensor(sequences, layout=torch.jagged)


def micro_batch(
    step: Step,
    treatment: Treatment | None,
    rows: list[int],
    dp_size: int = 1,
    reference: bool = True,
    number: int = 0,
    weights: Tensor | None = None,
) -> TensorDict:
    """The rows of a step as a worker gets them; ``treatment`` None for a method that is treated in the worker.

    Args:
        number: of the step.
        weights: (B, T) importance weights of the rollout.
    """
    prompts, responses = zip(*(step.lengths[i] for i in rows), strict=True)
    fields: dict[str, Any] = {
        "prompts": nested(torch.ones(len(step.mask), 9, dtype=torch.long), rows, prompts),
        "responses": nested(torch.ones_like(step.mask, dtype=torch.long), rows, responses),
        "response_mask": nested(step.mask.double(), rows, responses),
        "old_log_probs": nested(step.old, rows, responses),
        "advantages": nested(step.advantages, rows, responses),
    }
    if reference:
        fields["ref_log_prob"] = nested(step.reference, rows, responses)
    if treatment is not None:
        fields["advantages"] = nested(treatment.advantages * treatment.policy_weight, rows, responses)
        fields[KL_COEF] = nested(treatment.kl_coef, rows, responses)
    if weights is not None:
        fields["rollout_is_weights"] = nested(weights, rows, responses)
    data = TensorDict(fields, batch_size=len(rows))
    facts = {} if treatment is None else {fact_name(name): getattr(treatment, name) for name in FACTS}
    everything = {
        "dp_size": dp_size,
        "batch_num_tokens": step.mask.sum().item(),
        "global_batch_size": len(step.mask),
        STEP: number,
        **facts,
    }
    for key, value in everything.items():
        tensordict_utils.assign_non_tensor_data(data, key, value)
    return data


def treated(step: Step, method: Method) -> Treatment | None:
    return None if method.selection_scope == "micro_batch" else method.treat(step.rollouts())
