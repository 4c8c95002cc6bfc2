"""The loss against float64 re-computation, and the gradient of every KL estimator against exact enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sent_rl.methods import Estimator, Treatment
from sent_rl.methods.base import UNCLIPPED
from sent_rl.objective import LossType, aggregate, kl_estimate, policy_loss

torch.manual_seed(0)
LOGITS, REFERENCE, OLD = torch.randn(3, 7, dtype=torch.float64)


def expected_gradient(estimator: Estimator, importance: bool, sampler: Tensor) -> Tensor:
    """Gradient in the logits of the estimator's expectation over tokens that ``sampler`` draws, by enumeration of all 7."""
    logits = LOGITS.clone().requires_grad_()
    logps = torch.log_softmax(logits, -1)
    estimate = kl_estimate(logps, torch.log_softmax(REFERENCE, -1), torch.log_softmax(sampler, -1), estimator, importance)
    gradient: Tensor = torch.autograd.grad((torch.softmax(sampler, -1) * estimate).sum(), logits)[0]
    return gradient


def gradient_of(divergence: str) -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    p, q = torch.log_softmax(logits, -1), torch.log_softmax(REFERENCE, -1)
    value = {
        "reverse": lambda: (p.exp() * (p - q)).sum(),
        "forward": lambda: (q.exp() * (q - p)).sum(),
        "total variation": lambda: (p.exp() - q.exp()).abs().sum() / 2,
    }[divergence]()
    gradient: Tensor = torch.autograd.grad(value, logits)[0]
    return gradient


REVERSE, FORWARD, VARIATION = (gradient_of(name) for name in ("reverse", "forward", "total variation"))


@pytest.mark.parametrize("sampler", [LOGITS, OLD], ids=["on-policy", "off-policy"])
@pytest.mark.parametrize(("estimator", "truth"), [("k1", REVERSE), ("k2", REVERSE), ("k3", REVERSE), ("abs", 2 * VARIATION)])
def test_with_importance_the_gradient_is_exact_from_any_sampler(estimator: Estimator, truth: Tensor, sampler: Tensor) -> None:
    torch.testing.assert_close(expected_gradient(estimator, True, sampler), truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "truth"), [("k1", torch.zeros_like(LOGITS)), ("k2", REVERSE), ("k3", FORWARD), ("abs", 2 * VARIATION)]
)
def test_without_importance_on_policy(estimator: Estimator, truth: Tensor) -> None:
    torch.testing.assert_close(expected_gradient(estimator, False, LOGITS), truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_without_importance_off_policy_is_biased(estimator: Estimator) -> None:
    gradient = expected_gradient(estimator, False, OLD)
    assert (gradient - REVERSE).abs().max() > 0.01
    assert (gradient - FORWARD).abs().max() > 0.01


@pytest.mark.parametrize("importance", [True, False])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "abs"])
def test_expected_value_on_policy(estimator: Estimator, importance: bool) -> None:
    p, q = torch.log_softmax(LOGITS, -1), torch.log_softmax(REFERENCE, -1)
    value = (p.exp() * kl_estimate(p, q, p, estimator, importance)).sum().item()
    kl, variation = (p.exp() * (p - q)).sum().item(), (p.exp() * (p - q).abs()).sum().item()
    truth = {"k1": kl, "k3": kl, "k2": (p.exp() * (p - q) ** 2 / 2).sum().item(), "abs": variation}[estimator]
    assert value == pytest.approx(truth)


@pytest.mark.parametrize("estimator", ["k2", "k3", "abs"])
def test_anchored_at_the_sampler_the_first_update_is_idle(estimator: Estimator) -> None:
    logps = torch.log_softmax(LOGITS, -1).requires_grad_()
    kl = kl_estimate(logps, logps.detach(), logps.detach(), estimator, True)
    assert torch.autograd.grad(kl.sum(), logps)[0].abs().max() == 0


B, T = 3, 5


def batch(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logps, old, ref, advantages, entropies = torch.randn(5, B, T, generator=g, dtype=torch.float64) * 0.3
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    return {"logps": logps, "old": old, "ref": ref, "advantages": advantages, "entropies": entropies, "mask": mask}


def treatment_of(b: dict[str, Tensor], **changes: object) -> Treatment:
    g = torch.Generator().manual_seed(1)
    weight, coef = torch.rand(2, B, T, generator=g, dtype=torch.float64)
    fields: dict[str, object] = {"advantages": b["advantages"], "policy_weight": weight, "kl_coef": coef * (coef > 0.4), **changes}
    return Treatment(**fields)  # type: ignore[arg-type]


def slow_loss(b: dict[str, Tensor], t: Treatment, loss_type: str, clip: tuple[float, float]) -> float:
    rows = []
    for i in range(B):
        row = []
        for j in range(T):
            if not b["mask"][i, j]:
                continue
            logp, old, ref = (b[key][i, j].item() for key in ("logps", "old", "ref"))
            ratio, advantage = math.exp(logp - old), t.advantages[i, j].item()
            bounded = ratio if t.clip else min(max(ratio, 1 - clip[0]), 1 + clip[1])
            surrogate = min(ratio * advantage, bounded * advantage)
            d = logp - (old if t.anchor == "old" else ref)
            kl = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d, "abs": abs(d)}[t.kl_estimator]
            kl *= ratio if t.kl_importance else 1
            row.append(
                -t.policy_weight[i, j].item() * surrogate + t.kl_coef[i, j].item() * kl - t.entropy_coef * b["entropies"][i, j].item()
            )
        rows.append(row)
    tokens = sum(map(len, rows))
    return {
        "dapo": sum(map(sum, rows)) / tokens,
        "bnpo": sum(map(sum, rows)) / tokens,
        "grpo": sum(sum(row) / len(row) for row in rows) / B,
        "dr_grpo": sum(map(sum, rows)) / (B * 8),
    }[loss_type]


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo", "grpo", "dr_grpo"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kl_estimator": "k3", "clip": UNCLIPPED},
        {"kl_estimator": "abs", "anchor": "old", "kl_importance": False},
        {"kl_estimator": "k1", "entropy_coef": 0.3},
    ],
)
def test_policy_loss_against_a_slow_recomputation(loss_type: LossType, changes: dict[str, object]) -> None:
    b = batch()
    t = treatment_of(b, **changes)
    loss = policy_loss(
        b["logps"], b["old"], t, b["mask"], ref_logps=b["ref"], entropies=b["entropies"], clip=(0.1, 0.2), loss_type=loss_type, max_length=8
    )
    assert loss.total.item() == pytest.approx(slow_loss(b, t, loss_type, (0.1, 0.2)), abs=1e-12)
    assert loss.total.item() == pytest.approx((loss.policy + loss.penalty - t.entropy_coef * loss.entropy).item())


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_the_sum_over_micro_batches_is_the_loss_of_the_step(loss_type: LossType) -> None:
    b = batch()
    t = treatment_of(b)
    b["logps"].requires_grad_()

    def loss(rows: slice) -> Tensor:
        part = Treatment(t.advantages[rows], t.policy_weight[rows], t.kl_coef[rows])
        return policy_loss(
            b["logps"][rows], b["old"][rows], part, b["mask"][rows], ref_logps=b["ref"][rows], loss_type=loss_type,
            tokens=b["mask"].sum(), sequences=B, max_length=8,
        ).total  # fmt: skip

    whole = loss(slice(0, B))
    parts = [sum(loss(slice(i, j)) for i, j in itertools.pairwise(cut)) for cut in ([0, 1, 3], [0, 1, 2, 3])]
    truth = torch.autograd.grad(whole, b["logps"])[0]
    for part in parts:
        assert isinstance(part, Tensor)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(torch.autograd.grad(part, b["logps"])[0], truth, rtol=0, atol=1e-12)


def test_padding_and_idle_tokens_cannot_poison_the_gradient() -> None:
    b = batch()
    t = treatment_of(b)
    dirty = torch.where(b["mask"].bool(), b["logps"], torch.tensor(math.nan, dtype=torch.float64)).requires_grad_()
    reference = torch.where(t.kl_coef > 0, b["ref"], torch.tensor(-math.inf, dtype=torch.float64))
    loss = policy_loss(dirty, b["old"], t, b["mask"], ref_logps=reference)
    clean = policy_loss(b["logps"], b["old"], t, b["mask"], ref_logps=b["ref"])
    assert loss.total.item() == clean.total.item()
    assert torch.isfinite(torch.autograd.grad(loss.total, dirty)[0]).all()


def test_a_penalty_without_a_reference_is_an_error() -> None:
    b = batch()
    with pytest.raises(ValueError, match="ref_logps is None"):
        policy_loss(b["logps"], b["old"], treatment_of(b), b["mask"])
    without = treatment_of(b, kl_coef=torch.zeros(B, T, dtype=torch.float64))
    assert torch.isfinite(policy_loss(b["logps"], b["old"], without, b["mask"]).total)
    with pytest.raises(ValueError, match="entropies is None"):
        policy_loss(b["logps"], b["old"], treatment_of(b, entropy_coef=0.1), b["mask"], ref_logps=b["ref"])


def test_aggregate_names() -> None:
    values, mask = torch.ones(2, 3), torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert aggregate(values, mask, "luspo").item() == 2
    assert aggregate(values, mask, "sapo").item() == 1
    with pytest.raises(ValueError, match="max_length"):
        aggregate(values, mask, "dr_grpo")
    with pytest.raises(ValueError, match="unknown loss type"):
        aggregate(values, mask, "nope")
