"""GRPO and SENT in plain PyTorch, from the equations, sharing nothing with the package: the truth that the trainers are compared with.

Slow on purpose: no cache, no batching over prompts of different length, loops where a loop is what the equation says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Settings:
    group: int = 4
    max_tokens: int = 16
    clip: float = 0.2
    low_entropy_fraction: float = 0.8
    high_covariance_fraction: float = 0.01
    beta_low: float = 0.01
    beta_high: float = 0.1
    learning_rate: float = 1e-4
    loss_type: str = "dapo"


@dataclass
class Sample:
    """One response: token ids of prompt and response (end included), its advantage, and log-probs at the time it was drawn."""

    prompt: list[int]
    response: list[int]
    advantage: float = 0.0
    old_logps: Tensor | None = None
    ref_logps: Tensor | None = None
    entropies: Tensor | None = None


def distributions(model: PreTrainedModel, sample: Sample) -> Tensor:
    """(T, V) log-probs of the distributions that each response token came from."""
    ids = torch.tensor([sample.prompt + sample.response])
    logits = model(input_ids=ids).logits[0, len(sample.prompt) - 1 : -1]
    return torch.log_softmax(logits, dim=-1)


def logps_of(log_probs: Tensor, response: Sequence[int]) -> Tensor:
    return torch.stack([log_probs[t, token] for t, token in enumerate(response)])


@torch.no_grad()
def draw(model: PreTrainedModel, prompt: list[int], end: int, settings: Settings, rng: torch.Generator) -> Sample:
    response: list[int] = []
    while len(response) < settings.max_tokens and (not response or response[-1] != end):
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, -1]
        response.append(int(torch.multinomial(torch.softmax(logits, -1), 1, generator=rng)))
    return Sample(prompt, response)


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """(R - mean) / (std + 1e-4), std with n - 1, as TRL has it."""
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
    return [(r - mean) / (std + 1e-4) for r in rewards]


@torch.no_grad()
def remember(policy: PreTrainedModel, reference: PreTrainedModel, samples: Sequence[Sample]) -> None:
    """Fill in what has to be known from before the update."""
    for sample in samples:
        log_probs = distributions(policy, sample)
        sample.old_logps = logps_of(log_probs, sample.response)
        sample.entropies = -(log_probs.exp() * log_probs).sum(-1)
        sample.ref_logps = logps_of(distributions(reference, sample), sample.response)


def betas(samples: Sequence[Sample], settings: Settings) -> list[list[float]]:
    """SENT's beta of every token: thresholds over all tokens of the step."""
    tokens = [(i, t) for i, sample in enumerate(samples) for t in range(len(sample.response))]

    def old(i: int, t: int) -> float:
        logps = samples[i].old_logps
        assert logps is not None
        return logps[t].item()

    def entropy(i: int, t: int) -> float:
        entropies = samples[i].entropies
        assert entropies is not None
        return entropies[t].item()

    mean_logp = sum(old(i, t) for i, t in tokens) / len(tokens)
    mean_advantage = sum(samples[i].advantage for i, _ in tokens) / len(tokens)
    covariance = {(i, t): (old(i, t) - mean_logp) * (samples[i].advantage - mean_advantage) for i, t in tokens}
    by_entropy = sorted(entropy(i, t) for i, t in tokens)
    tau_entropy = by_entropy[max(1, math.floor(settings.low_entropy_fraction * len(tokens))) - 1]
    low = [x for x in tokens if entropy(*x) <= tau_entropy]
    by_covariance = sorted((covariance[x] for x in low), reverse=True)
    tau_covariance = by_covariance[max(1, math.floor(settings.high_covariance_fraction * len(low))) - 1]
    beta = [[0.0] * len(sample.response) for sample in samples]
    for i, t in low:
        beta[i][t] = settings.beta_high if covariance[i, t] >= tau_covariance else settings.beta_low
    return beta


def loss(policy: PreTrainedModel, samples: Sequence[Sample], settings: Settings) -> Tensor:
    """-mean_t [ min(r A, clip(r) A) - beta KL(pi || pi_ref) ], the KL by sg(r) d^2 / 2."""
    beta = betas(samples, settings)
    rows = []
    for sample, row in zip(samples, beta, strict=True):
        assert sample.old_logps is not None
        assert sample.ref_logps is not None
        logps = logps_of(distributions(policy, sample), sample.response)
        ratio = (logps - sample.old_logps).exp()
        surrogate = torch.minimum(ratio * sample.advantage, ratio.clamp(1 - settings.clip, 1 + settings.clip) * sample.advantage)
        kl = ratio.detach() * (logps - sample.ref_logps) ** 2 / 2
        rows.append(-(surrogate - torch.tensor(row) * kl))
    if settings.loss_type == "grpo":
        return torch.stack([row.mean() for row in rows]).mean()
    if settings.loss_type == "dr_grpo":
        return torch.stack([row.sum() / settings.max_tokens for row in rows]).mean()
    return torch.cat(rows).mean()


def train(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    steps: Sequence[Sequence[tuple[str, str]]],
    reward: Callable[[str, str], float],
    settings: Settings,
    seed: int = 0,
) -> list[float]:
    """One update for each batch of (question, answer) pairs; returns the mean reward of every step."""
    reference, rng = copy.deepcopy(policy).eval(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    history = []
    for batch in steps:
        samples, rewards = [], []
        for question, answer in batch:
            ids = tokenizer(question).input_ids
            group = [draw(policy, ids, tokenizer.eos_token_id, settings, rng) for _ in range(settings.group)]
            scores = [reward(tokenizer.decode(s.response, skip_special_tokens=True), answer) for s in group]
            for sample, advantage in zip(group, group_advantages(scores), strict=True):
                sample.advantage = advantage
            samples += group
            rewards += scores
        remember(policy, reference, samples)
        optimizer.zero_grad()
        torch.autograd.backward(loss(policy, samples, settings))
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        history.append(sum(rewards) / len(rewards))
    return history
