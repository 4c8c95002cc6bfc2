from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sent_rl.tokens import highest, lowest, share_count, token_stats


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_stats_equal_the_naive_computation(chunk_size: int, temperature: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64)
    labels = torch.randint(11, (2, 5))

    def naive() -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = torch.log_softmax((hidden @ weight.T + bias) / temperature, -1)
        return log_probs.gather(-1, labels[..., None])[..., 0], -(log_probs.exp() * log_probs).sum(-1)

    stats = token_stats(hidden, weight, labels, bias=bias, temperature=temperature, chunk_size=chunk_size)
    mix = torch.randn(2, 5, dtype=torch.float64)
    for ours, truth in zip(stats, naive(), strict=True):
        torch.testing.assert_close(ours, truth, rtol=0, atol=1e-12)
        for leaf in (hidden, weight):
            a, b = (torch.autograd.grad((x * mix).sum(), leaf, retain_graph=True)[0] for x in (ours, truth))
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_token_stats_of_nothing_and_of_forbidden_tokens() -> None:
    empty = token_stats(torch.zeros(0, 4), torch.zeros(3, 4), torch.zeros(0, dtype=torch.long))
    assert empty.logps.shape == (0,)
    bias = torch.tensor([0.0, -math.inf, 0.0])
    stats = token_stats(torch.zeros(1, 4), torch.zeros(3, 4), torch.tensor([0]), bias=bias)
    assert stats.entropies.item() == pytest.approx(math.log(2))
    assert stats.logps.item() == pytest.approx(-math.log(2))


def test_bfloat16_is_normalised_in_float32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(6, 8).bfloat16(), torch.randn(11, 8).bfloat16()
    stats = token_stats(hidden, weight, torch.arange(6))
    assert stats.logps.dtype == torch.float32
    truth = torch.log_softmax((hidden @ weight.T).float(), -1)
    torch.testing.assert_close(stats.entropies, -(truth.exp() * truth).sum(-1))


@pytest.mark.parametrize(
    ("fraction", "count", "k"), [(0.29, 100, 29), (0.8, 5, 4), (0.01, 10, 1), (1.0, 7, 7), (2e-4, 10_000, 2), (0.5, 0, 0)]
)
def test_share_count(fraction: float, count: int, k: int) -> None:
    assert share_count(fraction, count) == k


@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 0.5, 0.8, 1.0]),
)
def test_lowest_and_highest_take_all_ties(items: list[tuple[float, bool]], fraction: float) -> None:
    values = torch.tensor([v for v, _ in items])
    among = torch.tensor([m for _, m in items])
    candidates = sorted(v for v, m in items if m)
    k = max(1, int(fraction * 1000) * len(candidates) // 1000) if candidates and fraction else 0
    low = [m and k > 0 and v <= candidates[k - 1] for v, m in items]
    high = [m and k > 0 and v >= candidates[-k] for v, m in items]
    assert lowest(values, among, fraction).tolist() == low
    assert highest(values, among, fraction).tolist() == high
