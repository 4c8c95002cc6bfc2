"""The workers' loss against the package's own objective, for every method: value and gradient, however the batch is cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from verl.workers.config import FSDPActorConfig
from verl_batches import Step, full_sequences, micro_batch, treated

from sent_rl.errors import UserError
from sent_rl.methods import get, names
from sent_rl.objective import policy_loss
from sent_rl.trainers.verl.config import SENTPolicyLossConfig
from sent_rl.trainers.verl.loss import SENTLoss

CUTS: list[list[list[int]]] = [[[0, 1, 2, 3, 4, 5]], [[0, 1, 2], [3, 4, 5]], [[0], [1], [2], [3], [4], [5]], [[5, 0], [3, 1, 2, 4]]]
AGGREGATIONS = {"token-mean": "dapo", "seq-mean-token-mean": "grpo"}


def actor(method: Any, mode: str = "token-mean", loss_mode: str = "vanilla") -> Any:
    loss = SENTPolicyLossConfig(method=method, loss_mode=loss_mode)
    sizes = {"ppo_mini_batch_size": 6, "ppo_micro_batch_size_per_gpu": 6, "rollout_n": 1}
    return FSDPActorConfig(strategy="fsdp2", policy_loss=loss, loss_agg_mode=mode, clip_ratio_c=1e6, use_dynamic_bsz=False, **sizes)


def ours(step: Step, method: Any, loss_type: Any) -> tuple[float, Tensor]:
    """Loss and its gradient by the package's objective, on the whole batch at once."""
    new, entropies = step.new.clone().requires_grad_(), step.new_entropies.clone().requires_grad_()
    rollouts = step.rollouts() if method.selection_scope == "step" else None
    treatment = (
        method.treat(rollouts)
        if rollouts
        else method.treat(type(step.rollouts())(step.new, step.new_entropies, step.advantages, step.mask))
    )
    loss = policy_loss(new, step.old, treatment, step.mask, ref_logps=step.reference, entropies=entropies, loss_type=loss_type).total
    loss.backward()  # type: ignore[no-untyped-call]
    assert new.grad is not None
    return loss.item(), torch.cat([new.grad, torch.zeros_like(new) if entropies.grad is None else entropies.grad])


def verls(step: Step, method: Any, config: Any, cut: list[list[int]], dp_size: int = 1) -> tuple[float, Tensor]:
    """The same by the workers' loss: micro-batches add up, data-parallel ranks are averaged."""
    new, entropies = step.new.clone().requires_grad_(), step.new_entropies.clone().requires_grad_()
    loss_fn, total = SENTLoss(config), 0.0
    for rows in cut:
        data = micro_batch(step, treated(step, method), rows, dp_size, reference=method.needs_reference)
        output = {"log_probs": full_sequences(step, new, rows), "entropy": full_sequences(step, entropies, rows)}
        loss, metrics = loss_fn(output, data)
        (loss / dp_size).backward()  # type: ignore[no-untyped-call]
        total += loss.item() / dp_size
        assert all(torch.isfinite(torch.as_tensor(float(m.aggregate() if hasattr(m, "aggregate") else m))) for m in metrics.values())
    assert new.grad is not None
    return total, torch.cat([new.grad, torch.zeros_like(new) if entropies.grad is None else entropies.grad])


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("cut", CUTS, ids=["1", "2", "6", "uneven"])
@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_every_method_has_the_objectives_loss(name: str, cut: list[list[int]], mode: str) -> None:
    step, method = Step.random(1), get(name)
    wanted, wanted_gradient = ours(step, method, AGGREGATIONS[mode])
    found, gradient = verls(step, method, actor({"name": name}, mode), cut)
    assert found == pytest.approx(wanted, abs=1e-6)
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", names())
def test_data_parallel_ranks_average_to_the_same(name: str) -> None:
    step, method = Step.random(2), get(name)
    one, two = (verls(step, method, actor({"name": name}), CUTS[1], dp_size) for dp_size in (1, 2))
    # each rank's loss is scaled by the number of ranks, and gradients are averaged over them
    assert two[0] == pytest.approx(one[0], abs=1e-9)
    torch.testing.assert_close(two[1], one[1])


@pytest.mark.parametrize("options", [{"name": "clip_cov", "scope": "micro_batch"}, {"name": "kl_cov", "scope": "micro_batch"}])
def test_a_method_that_selects_by_micro_batch_is_treated_in_the_worker(options: dict[str, Any]) -> None:
    step, method = Step.random(3), get(**options)
    wanted = ours(step, method, "dapo")
    found = verls(step, method, actor(options), CUTS[0])
    assert found[0] == pytest.approx(wanted[0], abs=1e-6)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-6, rtol=0)


def test_the_users_own_loss_mode_keeps_working() -> None:
    step, method = Step.random(4), get("grpo")
    plain, gspo = (verls(step, method, actor("grpo", "seq-mean-token-mean", mode), CUTS[0])[0] for mode in ("vanilla", "gspo"))
    assert plain != pytest.approx(gspo, abs=1e-6)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(UserError, match="sent has no such option; did you mean 'beta_high'"):
        SENTPolicyLossConfig(method={"name": "sent", "beta_hgih": 1}).resolved()
