"""Treatments against slow re-computations, token by token, written from the cards."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sent_rl.errors import UserError
from sent_rl.methods import Rollouts, card, get, names, resolve

FEW_VALUES = st.sampled_from([-2.0, -0.5, -0.5, 0.0, 0.25, 1.0])  # few, so that there are ties


@st.composite
def rollouts(draw: st.DrawFn) -> Rollouts:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    size = rows * columns

    def tensor(values: st.SearchStrategy[float]) -> torch.Tensor:
        return torch.tensor(draw(st.lists(values, min_size=size, max_size=size)), dtype=torch.float64).reshape(rows, columns)

    mask = tensor(st.sampled_from([0.0, 1.0, 1.0])).bool()
    if draw(st.booleans()):
        mask[0] = False  # a truncated response that is not trained on
    per_response = draw(st.booleans())
    advantages = tensor(FEW_VALUES)
    garbage = tensor(st.sampled_from([math.nan, math.inf, 0.0]))
    return Rollouts(
        logps=torch.where(mask, tensor(FEW_VALUES), garbage),
        entropies=torch.where(mask, tensor(FEW_VALUES).abs(), garbage),
        advantages=advantages[:, 0] if per_response else advantages,
        mask=mask,
    )


def slow_sent(r: Rollouts, low_fraction: float, high_fraction: float, beta_low: float, beta_high: float) -> list[list[float]]:
    tokens = [(i, t) for i in range(r.mask.size(0)) for t in range(r.mask.size(1)) if r.mask[i, t]]
    coef = [[0.0] * r.mask.size(1) for _ in range(r.mask.size(0))]
    if not tokens:
        return coef
    mean_logp = sum(r.logps[x].item() for x in tokens) / len(tokens)
    mean_advantage = sum(r.advantages[x].item() for x in tokens) / len(tokens)
    covariance = {x: (r.logps[x].item() - mean_logp) * (r.advantages[x].item() - mean_advantage) for x in tokens}
    tau = sorted(r.entropies[x].item() for x in tokens)[max(1, math.floor(low_fraction * len(tokens) + 1e-9)) - 1]
    low = [x for x in tokens if r.entropies[x].item() <= tau]
    k = max(1, math.floor(high_fraction * len(low) + 1e-9))
    tau_covariance = sorted((covariance[x] for x in low), reverse=True)[k - 1]
    if len({r.advantages[x].item() for x in tokens}) == 1:  # no spread, no covariance
        tau_covariance = math.inf
    for i, t in low:
        # the two ways of summing may differ in the last bit
        coef[i][t] = beta_high if covariance[i, t] >= tau_covariance - 1e-12 else beta_low
    return coef


@given(rollouts(), st.sampled_from([0.1, 0.29, 0.5, 0.8, 1.0]), st.sampled_from([0.01, 0.3, 1.0]))
def test_sent_against_a_slow_recomputation(r: Rollouts, low_fraction: float, high_fraction: float) -> None:
    method = get("sent", low_entropy_fraction=low_fraction, high_covariance_fraction=high_fraction, beta_low=0.1, beta_high=0.7)
    # ties in covariance are decided in exact arithmetic: sixteenths, so that no rounding can split them
    count = max(1, int(r.mask.sum()))
    if count & (count - 1) == 0:
        treatment = method.treat(r)
        assert treatment.kl_coef.tolist() == slow_sent(r, low_fraction, high_fraction, 0.1, 0.7)
        assert treatment.advantages.tolist() == r.advantages.tolist()
        assert (treatment.policy_weight == 1).all()


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8]), st.sampled_from([0.05, 0.2]))
def test_sent_on_continuous_values(seed: int, low_fraction: float, high_fraction: float) -> None:
    g = torch.Generator().manual_seed(seed)
    logps, entropies, advantages = torch.randn(3, 6, 9, generator=g, dtype=torch.float64)
    r = Rollouts(-logps.abs(), entropies.abs(), advantages, torch.rand(6, 9, generator=g) < 0.7)
    treatment = get("sent", low_entropy_fraction=low_fraction, high_covariance_fraction=high_fraction).treat(r)
    assert torch.equal(treatment.kl_coef, torch.tensor(slow_sent(r, low_fraction, high_fraction, 0.01, 0.1), dtype=torch.float64))
    low, high = treatment.selections["low_entropy"], treatment.selections["high_covariance"]
    assert (high & ~low).sum() == 0
    assert low.sum() == max(1, math.floor(low_fraction * int(r.mask.sum())))  # continuous values: no ties


def test_no_valid_token_at_all() -> None:
    nothing = Rollouts(torch.full((2, 3), math.nan), torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3))
    treatment = get("sent").treat(nothing)
    assert (treatment.kl_coef == 0).all()
    assert torch.isfinite(treatment.advantages).all()


@pytest.mark.parametrize("advantage", [0.0, 0.1, -0.7, 1e-30])
@pytest.mark.parametrize("name", ["sent", "sent_online", "sent_adaptive"])
def test_without_a_spread_of_advantages_nobody_gets_beta_high(name: str, advantage: float) -> None:
    """Also where the mean of equal numbers rounds to another one: 0.1, seven times, in float32."""
    g = torch.Generator().manual_seed(0)
    mask = torch.arange(10) < torch.tensor([[10], [7], [4]])  # 21 tokens
    logps, entropies = -torch.rand(3, 10, generator=g), torch.rand(3, 10, generator=g)
    r = Rollouts(logps, entropies, torch.full((3,), advantage), mask)
    treatment = get(name, beta_low=0.1, beta_high=0.7).treat(r)
    assert treatment.selections["high_covariance"].sum() == 0
    assert treatment.selections["low_entropy"].sum() == 16  # 80 % of 21
    assert (treatment.kl_coef == 0.1 * treatment.selections["low_entropy"]).all()
    assert (r.covariance() == 0).all()


def test_without_a_spread_the_other_covariance_methods_pick_nobody_either() -> None:
    g = torch.Generator().manual_seed(0)
    logps, entropies = -torch.rand(3, 7, generator=g), torch.rand(3, 7, generator=g)
    for advantage in (0.0, 0.1):
        r = Rollouts(logps, entropies, torch.full((3,), advantage), torch.ones(3, 7))
        assert (get("kl_cov").treat(r).kl_coef == 0).all()
        around_zero = get("clip_cov", cov_low=-1.0, cov_high=1.0).treat(r)
        assert (around_zero.policy_weight == 1).all()
        # the published code picks as many tokens as ever; which ones is arbitrary
        published = get("sent_as_published").treat(r).selections
        assert published["high_covariance"].sum() == published["low_covariance"].sum() == 1


def test_one_group_with_a_spread_is_enough() -> None:
    """Seven groups of equal rewards and one with a spread: the selection is the equation's."""
    g = torch.Generator().manual_seed(1)
    logps, entropies = torch.randn(2, 32, 9, generator=g, dtype=torch.float64)
    advantages = torch.zeros(32, dtype=torch.float64)
    advantages[8:12] = torch.tensor([1.5, -0.5, -0.5, -0.5])
    r = Rollouts(-logps.abs(), entropies.abs(), advantages, torch.rand(32, 9, generator=g) < 0.8)
    expected = torch.tensor(slow_sent(r, 0.8, 0.01, 0.01, 0.1), dtype=torch.float64)
    treatment = get("sent").treat(r)
    assert torch.equal(treatment.kl_coef, expected)
    rows = treatment.selections["high_covariance"].nonzero()[:, 0].tolist()
    assert rows
    assert set(rows) <= set(range(8, 12))


def test_a_fraction_of_zero_selects_nothing() -> None:
    r = Rollouts(-torch.rand(2, 10), torch.rand(2, 10), torch.randn(2), torch.ones(2, 10))
    assert (get("sent", low_entropy_fraction=0).treat(r).kl_coef == 0).all()
    assert get("sent", high_covariance_fraction=0).treat(r).selections["high_covariance"].sum() == 0


def test_grpo_is_uniform() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    treatment = get("grpo", beta=0.04).treat(Rollouts.without_stats(torch.tensor([1.0, -1.0]), mask))
    assert treatment.kl_coef.tolist() == [[pytest.approx(0.04), pytest.approx(0.04), 0], [pytest.approx(0.04), 0, 0]]
    assert treatment.advantages.tolist() == [[1, 1, 0], [-1, 0, 0]]
    assert (get("grpo").needs_reference, get("grpo", beta=0.1).needs_reference) == (False, True)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="entropies has shape"):
        Rollouts(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2), torch.ones(2, 3))


def test_need_of_a_reference() -> None:
    assert get("sent").needs_reference
    assert not get("sent", anchor="old").needs_reference
    assert not get("sent", beta_low=0, beta_high=0).needs_reference


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "snt"}, "did you mean 'sent'"),
        ({"name": "sent", "beta_hihg": 1}, "did you mean 'beta_high'"),
        ({"name": "sent", "beta_low": -1}, "beta_low"),
        ({"name": "sent", "low_entropy_fraction": 1.5}, "low_entropy_fraction"),
        ({"name": "sent", "kl_estimator": "k4"}, "kl_estimator"),
        ({"name": "sent", "beta_low": math.nan}, "finite"),
        ({}, "missing"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(options)


@pytest.mark.parametrize("name", names())
def test_every_card_says_what_it_must(name: str) -> None:
    text = card(name)
    for part in ("Equation:", "Source:", "Defaults:", "Deviations:", "Options:"):
        assert part in text
    assert resolve(get(name).model_dump()) == get(name)
