"""Our Clip-Cov, KL-Cov and SENT as published beside verl's own losses: clip ranges, rollout weights,
draws."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from test_verl_loss import actor
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import PolicyLossConfig
from verl_batches import Step, full_sequences, micro_batch, treated

from sent_rl.methods import card, get, names
from sent_rl.trainers.verl.loss import SENTLoss

ROWS = list(range(6))
CLIP_COV = {"name": "clip_cov", "clip_fraction": 1.0, "cov_low": 0.3, "scope": "micro_batch"}
"""With all candidates drawn, nothing depends on chance."""
BAND = {"clip_cov_ratio": 1.0, "clip_cov_lb": 0.3, "clip_cov_ub": 5.0}
"""The same in verl's words."""


def far_step() -> Step:
    """A step with ratios of 5 and of 1/5, at advantages of either sign; without the numbers that
    need a clip, verl's losses would be those of an unclipped surrogate."""
    step = Step.random(5)
    step.new[:, 0], step.new[:, 1] = step.old[:, 0] + 1.6, step.old[:, 1] - 1.6
    return step


def ours(step: Step, options: dict[str, Any], weights: Tensor | None = None) -> tuple[float, Tensor]:
    """Loss and gradient of the plug-in, with verl's dual clip at its default of 3."""
    config = actor(options)
    object.__setattr__(config, "clip_ratio_c", 3.0)
    new = step.new.clone().requires_grad_()
    data = micro_batch(step, treated(step, get(**options)), ROWS, reference=False, weights=weights)
    output = {
        "log_probs": full_sequences(step, new, ROWS),
        "entropy": full_sequences(step, step.new_entropies, ROWS),
    }
    loss, _ = SENTLoss(config)(output, data)
    loss.backward()  # type: ignore[no-untyped-call]
    assert new.grad is not None
    return loss.item(), new.grad


def verls(step: Step, mode: str, clip: float, weights: Tensor | None = None, **settings: float) -> tuple[float, Tensor]:
    """The same of verl's own loss."""
    config = actor("grpo")
    changes = {"clip_ratio_low": clip, "clip_ratio_high": clip, "clip_ratio_c": 3.0}
    changes["policy_loss"] = PolicyLossConfig(loss_mode=mode, **settings)
    for name, value in changes.items():
        object.__setattr__(config, name, value)
    new = step.new.clone().requires_grad_()
    loss, _ = get_policy_loss_fn(mode)(
        old_log_prob=step.old,
        log_prob=new,
        advantages=step.advantages,
        response_mask=step.mask,
        loss_agg_mode="token-mean",
        config=config,
        rollout_is_weights=weights,
    )
    loss.backward()
    assert new.grad is not None
    return loss.item(), new.grad


def test_clip_cov_is_verls_own_which_has_no_dual_clip() -> None:
    step = far_step()
    # verl draws none of the tokens that the clip holds back already; without them both draw alike.
    held = (step.advantages > 0) & (step.new - step.old > 0.6)
    step.new = torch.where(held, step.old, step.new)
    loss, gradient = ours(step, CLIP_COV)
    wanted, wanted_gradient = verls(step, "clip_cov", 1.0, None, **BAND)
    assert loss == pytest.approx(wanted, abs=1e-9)
    torch.testing.assert_close(gradient, wanted_gradient)
    # What a dual clip at 3 would hold back: ratio 5, negative advantage.
    pushed = (step.advantages < 0) & (step.new - step.old > 1.5) & step.mask
    assert (gradient[pushed] != 0).any()


def test_clip_cov_without_a_clip_range_keeps_yours() -> None:
    _, gradient = ours(far_step(), {**CLIP_COV, "ppo_clip": None})
    step = far_step()
    pushed = (step.advantages < 0) & (step.new - step.old > 1.5) & step.mask
    assert pushed.any()
    assert (gradient[pushed] == 0).all()


@pytest.mark.parametrize("name", ["kl_cov", "sent_as_published"])
def test_methods_that_clip_nothing_have_no_dual_clip(name: str) -> None:
    step = far_step()
    _, gradient = ours(step, {"name": name, "scope": "micro_batch"})
    ratio = (step.new - step.old).exp()
    plain = -step.advantages * ratio / step.mask.sum()  # of the surrogate alone
    pushed = (step.advantages < 0) & (ratio > 3) & step.mask
    assert pushed.any()
    untouched = pushed & ((gradient - plain).abs() < 1e-12)
    assert untouched.any()


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_kl_cov_is_verls_own(share: float) -> None:
    step = far_step()
    options = {"name": "kl_cov", "top_fraction": share, "beta": 0.7, "scope": "micro_batch"}
    loss, gradient = ours(step, options)
    wanted, wanted_gradient = verls(step, "kl_cov", 0.2, kl_cov_ratio=share, ppo_kl_coef=0.7)
    assert loss == pytest.approx(wanted, abs=1e-9)
    torch.testing.assert_close(gradient, wanted_gradient)


def test_rollout_weights_multiply_the_surrogate_and_not_the_penalty() -> None:
    step = far_step()
    weights = 0.5 + torch.rand(step.mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"name": "kl_cov", "top_fraction": 0.3, "beta": 0.7, "scope": "micro_batch"}
    settings = {"kl_cov_ratio": 0.3, "ppo_kl_coef": 0.7}
    loss, _ = ours(step, options, weights)
    theirs, _ = verls(step, "kl_cov", 0.2, weights, **settings)
    rollouts = type(step.rollouts())(step.new, step.new_entropies, step.advantages, step.mask)
    penalty = get(**options).treat(rollouts).kl_coef * (step.new - step.old).abs()
    unweighted = (penalty * (1 - weights)).sum() / step.mask.sum()
    assert unweighted.abs() > 1e-3
    assert loss == pytest.approx(theirs + unweighted.item(), abs=1e-9)
    # With no penalty to weigh, the losses agree.
    without = {**options, "beta": 0.0}
    theirs, _ = verls(step, "kl_cov", 0.2, weights, kl_cov_ratio=0.3, ppo_kl_coef=0.0)
    assert ours(step, without, weights)[0] == pytest.approx(theirs, abs=1e-9)


def test_the_cards_say_so() -> None:
    for name in (each for each in names() if get(each).clip is not None):
        assert "clip_ratio_c" in card(name)
        assert "rollout_is_weights" in card(name)


# ---- draws

DRAWING = {"name": "clip_cov", "clip_fraction": 0.2, "cov_low": -9.0, "cov_high": 9.0, "scope": "micro_batch"}


def drawn(loss_fn: SENTLoss, number: int, passes: int) -> list[frozenset[int]]:
    """The tokens without a gradient at each of some passes over the same micro-batch of a step."""
    step = Step.random(7)
    found = []
    for _ in range(passes):
        new = step.new.clone().requires_grad_()
        output = {
            "log_probs": full_sequences(step, new, ROWS),
            "entropy": full_sequences(step, step.new_entropies, ROWS),
        }
        loss, _ = loss_fn(output, micro_batch(step, None, ROWS, reference=False, number=number))
        loss.backward()  # type: ignore[no-untyped-call]
        assert new.grad is not None
        found.append(frozenset(((new.grad == 0) & step.mask).flatten().nonzero()[:, 0].tolist()))
    return found


def test_every_pass_draws_anew() -> None:
    first, second = (drawn(SENTLoss(actor(DRAWING)), number, 4) for number in (3, 4))
    assert {len(tokens) for tokens in first + second} == {7}  # 20 % of 35
    assert len(set(first + second)) == 8


def test_a_resumed_run_draws_as_an_uncut_one() -> None:
    uncut = SENTLoss(actor(DRAWING))
    wanted = [drawn(uncut, number, 3) for number in (1, 2)]
    fresh = pickle.loads(pickle.dumps(SENTLoss(actor(DRAWING))))  # as Ray hands it to a worker
    assert drawn(fresh, 2, 3) == wanted[1]


def test_ranks_draw_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    loss_fn = SENTLoss(actor(DRAWING))
    data = micro_batch(Step.random(7), None, ROWS, number=3)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)
    numbers = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda group, rank=rank: rank)
        numbers += [loss_fn._draw(data, "group")["step"] for _ in range(2)]
    assert len(set(numbers)) == 4
