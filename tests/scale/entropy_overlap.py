"""How many of the tokens that a share of entropies selects are right, where entropies are computed
in bfloat16; as a script it prints the table of `sent_rl.trainers.verl.entropies`.

    python tests/scale/entropy_overlap.py        # 1 to 3 minutes on one core
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from verl.utils.torch_functional import entropy_from_logits

from sent_rl.tokens import highest, lowest

VOCABULARY = 151_936
"""Of the paper's models."""
SHARES = (0.1, 0.2, 0.5, 0.8, 0.9)


def spread(tokens: int, rng: torch.Generator) -> Tensor:
    """Normal logits, sharper at some tokens than at others: few of them are certain."""
    sharpness = torch.empty(tokens, 1).uniform_(3, 8, generator=rng)
    return sharpness * torch.randn(tokens, VOCABULARY, generator=rng)


def candidates(tokens: int, rng: torch.Generator) -> Tensor:
    """Eight candidates stand out from noise, as far as chance will have it."""
    return _candidates(2 * torch.randn(tokens, VOCABULARY, generator=rng), 18, 4, rng)


def leader(tokens: int, rng: torch.Generator) -> Tensor:
    """Eight candidates of about the same rank, one of them ahead: a fifth of the tokens is certain."""
    logits = _candidates(5 + 2 * torch.randn(tokens, VOCABULARY, generator=rng), 22, 1, rng)
    gap = torch.empty(tokens, 1).exponential_(1 / 6, generator=rng)
    return logits.scatter_add_(1, logits.argmax(-1, keepdim=True), gap)


def _candidates(logits: Tensor, mean: float, deviation: float, rng: torch.Generator) -> Tensor:
    places = torch.randint(VOCABULARY, (len(logits), 8), generator=rng)
    return logits.scatter(1, places, mean + deviation * torch.randn(len(logits), 8, generator=rng))


Kind = Callable[[int, torch.Generator], Tensor]
KINDS: tuple[Kind, ...] = (spread, candidates, leader)


def entropies(kind: Kind, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(tokens,) in float64, and by verl's eager function, of the same bfloat16 logits."""
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, tokens, 50):  # 50 tokens are 30 MB
        logits = kind(min(50, tokens - start), rng).bfloat16()
        parts.append((entropy_from_logits(logits.double()), entropy_from_logits(logits).double()))
    true, found = zip(*parts, strict=True)
    return torch.cat(true), torch.cat(found)


def overlap(true: Tensor, found: Tensor, side: str, share: float) -> float:
    """The part of the selected tokens that is right; ties at the threshold are all selected."""
    select = lowest if side == "lowest" else highest
    everything = torch.ones_like(true, dtype=torch.bool)
    right, selected = (select(values, everything, share) for values in (true, found))
    return ((right & selected).sum() / max(right.sum(), selected.sum())).item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    pairs = [entropies(kind, 1000, seed) for kind in KINDS for seed in range(3)]
    for side in ("lowest", "highest"):
        for share in SHARES:
            values = [overlap(true, found, side, share) for true, found in pairs]
            print(f'("{side}", {share}): ({min(values):.2f}, {max(values):.2f}),')
    errors = [(found - true).abs().max().item() for true, found in pairs]
    print(f"largest error, nats: {min(errors):.2f} to {max(errors):.2f}")
