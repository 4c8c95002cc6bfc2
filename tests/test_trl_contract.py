"""What we rely on in TRL, and what users of TRL rely on in us. When these pass on a newer TRL, the pin may widen."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import reference_loop
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl_helpers import (
    GROUP,
    LENGTH,
    QUESTIONS,
    SENT,
    STRONG,
    assert_same_updates,
    logged,
    ours,
    tasks,
    theirs,
    uneven_reward,
    updates,
    weights,
)

from sent_rl.answers import equivalent, extract
from sent_rl.methods import names
from sent_rl.models import EMBEDDED
from sent_rl.problems import arithmetic_problems
from sent_rl.rollouts import Sampling
from sent_rl.rollouts.transformers import TransformersEngine
from sent_rl.tokens import highest
from sent_rl.trainers.trl import SENTConfig

TOKENS = QUESTIONS * GROUP * LENGTH  # of a step, at most
LOSS_TYPES = ["dapo", "grpo", "dr_grpo", "bnpo"]


def logged_keys(trainer: Any, *prefixes: str) -> list[str]:
    return sorted({key for entry in trainer.state.log_history for key in entry if key.startswith(prefixes)})


def test_the_signatures_that_are_overridden() -> None:
    for name, parameters in {
        "_generate_and_score_completions": ["self", "inputs"],
        "_compute_loss": ["self", "model", "inputs"],
        "_get_train_sampler": ["self", "dataset"],
    }.items():
        assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == parameters
    taken = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    from sent_rl.trainers.trl.trainer import _MODEL_INPUTS

    assert set(_MODEL_INPUTS) <= set(taken)
    assert {"model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"} <= set(taken)


def test_no_default_of_trl_is_changed(tmp_path: Path) -> None:
    a, b = GRPOConfig(str(tmp_path), use_cpu=True), SENTConfig(str(tmp_path), use_cpu=True)
    ignored = {"logging_dir", "run_name"}
    theirs_values = {k: v for k, v in vars(a).items() if not k.startswith("_") and k not in ignored}
    for key, value in theirs_values.items():
        if isinstance(value, int | float | str | bool | None | list):
            assert getattr(b, key) == value, key
    assert set(vars(b)) - set(vars(a)) == {"method", "stage_reset", "extract", "thoughts", "opened", "unparsed", "track_reference"}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_uniform_beta_is_trls_own(tmp_path: Path, loss_type: str) -> None:
    """Off-policy (two iterations), two micro-batches per step: loss and gradient."""
    shape = {
        "num_iterations": 2,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "loss_type": loss_type,
        "max_steps": 4,
    }
    truth = theirs(tmp_path / "a", beta=0.5, **shape)
    wanted = updates(truth)
    found = ours(tmp_path / "b", method={"name": "grpo", "beta": 0.5, "kl_estimator": "k3"}, **shape)
    assert_same_updates(updates(found, wanted), wanted, TOKENS)
    assert found.losses == pytest.approx(truth.losses, abs=1e-6)
    assert max(logged(truth, "kl")) > 1e-3  # the penalty was at work
    assert logged(found, "kl") == pytest.approx(logged(truth, "kl"), rel=0.2)  # theirs is a mean of micro-batches


def test_grpo_is_trls_grpo_to_the_last_bit(tmp_path: Path) -> None:
    truth = theirs(tmp_path / "a")
    truth.train()
    found = ours(tmp_path / "b", method="grpo")
    found.train()
    assert found.losses == truth.losses
    assert torch.equal(weights(found), weights(truth))
    assert found.passes == truth.passes  # no forward of ours
    assert found.ref_model is None


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_trls_beta_keeps_its_meaning(tmp_path: Path, beta: float) -> None:
    """A method that adds nothing leaves exactly TRL's own uniform penalty."""
    truth = theirs(tmp_path / "a", beta=beta, num_iterations=2)
    wanted = updates(truth)
    found = ours(tmp_path / "b", beta=beta, num_iterations=2, method={"name": "sent", "low_entropy_fraction": 0.0})
    assert_same_updates(updates(found, wanted), wanted, TOKENS)
    assert found.losses == pytest.approx(truth.losses, abs=1e-6)
    assert found.args.beta == beta


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])  # bnpo divides by the micro-batch's tokens by definition
def test_loss_and_gradient_do_not_depend_on_the_micro_batch(tmp_path: Path, loss_type: str) -> None:
    def trainer(size: int) -> Any:
        steps = {"per_device_train_batch_size": size, "gradient_accumulation_steps": QUESTIONS * GROUP // size}
        return ours(tmp_path / str(size), method=SENT, loss_type=loss_type, **steps)

    whole = trainer(16)
    wanted = updates(whole)
    assert sum(logged(whole, "kl")) > 0
    for size in (4, 2):
        part = trainer(size)
        assert_same_updates(updates(part, wanted), wanted, TOKENS)
        cut = len(part.losses) // 3
        assert [sum(part.losses[i * cut : (i + 1) * cut]) for i in range(3)] == pytest.approx(whole.losses, abs=1e-6)
        assert logged(part, "share/high_covariance") == logged(whole, "share/high_covariance")


@pytest.mark.parametrize("name", names())
def test_no_method_depends_on_the_micro_batch(tmp_path: Path, name: str) -> None:
    """Two updates a rollout, so that ratios, old log-probs and clips are at work."""
    staged = tasks(24, stages=2)

    def trainer(size: int) -> Any:
        steps = {"per_device_train_batch_size": size, "gradient_accumulation_steps": QUESTIONS * GROUP // size}
        return ours(tmp_path / str(size), staged, method={"name": name, **STRONG.get(name, {})}, num_iterations=2, max_steps=4, **steps)

    whole = trainer(16)  # a trainer sets the seed when it is made, so one is run before the next is made
    wanted = updates(whole)
    part = trainer(4)
    assert_same_updates(updates(part, wanted), wanted, TOKENS)
    assert [sum(part.losses[i * 4 : (i + 1) * 4]) for i in range(4)] == pytest.approx(whole.losses, abs=1e-6)
    for key in logged_keys(whole, "share/", "covariance/", "kl", "negative_advantage/"):
        assert logged(part, key) == pytest.approx(logged(whole, key), abs=1e-3), key
    plain = ours(tmp_path / "plain", staged, method="grpo", num_iterations=2, max_steps=4)
    plain.train()
    assert (plain.losses == whole.losses) == (name == "grpo")  # each method does something


@pytest.mark.parametrize("name", names())
def test_what_is_logged_for_every_method(tmp_path: Path, name: str) -> None:
    trainer = ours(tmp_path, tasks(24, stages=1), method=name, track_reference=True, num_iterations=2, max_steps=2)
    trainer.train()
    keys = {key for entry in trainer.state.log_history for key in entry}
    wanted = {"entropy", "covariance/mean", "covariance/top", "kl", "kl_old", "clip_ratio/region_mean", "frac_reward_zero_std", "tokens"}
    assert wanted <= keys
    assert logged(trainer, "kl")[0] == pytest.approx(0, abs=1e-9)
    assert logged(trainer, "kl")[1] == pytest.approx(logged(trainer, "kl_old")[1], rel=1e-3)  # after one update both anchors are the same
    for selection in {key.removeprefix("share/") for key in keys if key.startswith("share/")}:
        assert {f"entropy/{selection}", f"negative_advantage/{selection}"} <= keys
        assert 0 <= logged(trainer, f"negative_advantage/{selection}")[0] <= 1
    assert any(key.startswith("share/") for key in keys) == (name not in ("grpo", "entropy_bonus", "entropy_advantage"))


def test_selection_by_micro_batch_is_trls_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`scope: micro_batch, denominator: all` is TRL's own top_entropy_quantile, but for the rounding of the quantile."""
    entropies = torch.rand(4, 30, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 30)
    mask[:, 20:] = 0
    mask[0, 20] = 1  # 81 tokens: TRL's quantile falls on a token, the 65th, and 17 (21 %) are at or above it
    steps = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_iterations": 2, "max_steps": 4}
    truth = theirs(tmp_path / "a", top_entropy_quantile=0.2, **steps)
    selected = truth.get_high_entropy_mask(entropies, mask, 0.8)
    assert torch.equal(highest(entropies, mask.bool(), 0.21), selected)
    # with the same rounding: the same loss, pass by pass
    monkeypatch.setattr(GRPOTrainer, "get_high_entropy_mask", lambda self, h, m, q: highest(h, m.bool(), 0.2))
    wanted = updates(truth)
    found = ours(tmp_path / "b", method={"name": "entropy_mask", "scope": "micro_batch", "denominator": "all"}, **steps)
    assert_same_updates(updates(found, wanted), wanted, TOKENS)
    assert found.losses == pytest.approx(truth.losses, abs=1e-6)
    assert found.passes == truth.passes


def test_the_controllers_state_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    for method in (
        {"name": "sent_adaptive", "gain": 2.0},
        {"name": "entropy_bonus", "adaptive": True, "target": 5.0, "delta": 0.1, "coef_max": 9},
    ):
        shape: dict[str, Any] = {"method": method, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
        folder = tmp_path / str(method["name"])
        whole = ours(folder, **shape)
        whole.train()
        again = ours(folder, **shape)
        again.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
        assert again.method_state == whole.method_state
        assert torch.equal(weights(again), weights(whole))


def test_forward_passes(tmp_path: Path) -> None:
    """One micro-batch: none of ours. Several: one more of each. Old log-probs computed anyway: none of ours."""
    single = ours(tmp_path / "a", method=SENT, max_steps=1)
    single.train()
    assert single.passes == 1
    several = ours(tmp_path / "b", method=SENT, max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    several.train()
    assert several.passes == 4 + 4
    shape = {"max_steps": 2, "num_iterations": 2}
    off_policy, truth = ours(tmp_path / "c", method=SENT, **shape), theirs(tmp_path / "d", beta=0.1, **shape)
    off_policy.train()
    truth.train()
    assert off_policy.passes == truth.passes == 1 + 2


def test_agrees_with_the_reference_loop(tmp_path: Path) -> None:
    """The same responses, rewards and models give the same loss and gradient, written from the equations."""
    reference = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    for loss_type in ("dapo", "grpo", "dr_grpo"):
        trainer = ours(tmp_path / loss_type, method=SENT, loss_type=loss_type, num_iterations=2, max_steps=2)
        seen: list[tuple[float, torch.Tensor, dict[str, torch.Tensor]]] = []
        original = trainer.compute_loss

        def recorded(
            model: Any, inputs: dict[str, Any], *args: Any, original: Any = original, seen: Any = seen, **kwargs: Any
        ) -> torch.Tensor:
            before = {k: v.detach().clone() for k, v in model.state_dict().items()}
            loss: torch.Tensor = original(model, inputs, *args, **kwargs)
            gradient = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            seen.append((loss.item(), torch.cat([g.flatten() for g in gradient]), before))
            return loss

        trainer.compute_loss = recorded
        trainer.train()
        batch = trainer.batches[0]
        rewards = batch["advantages"][:, 0]  # one advantage a response; recomputed below from the rewards
        samples = []
        for i in range(QUESTIONS * GROUP):
            prompt = batch["prompt_ids"][i][batch["prompt_mask"][i].bool()].tolist()
            response = batch["completion_ids"][i][batch["completion_mask"][i].bool()].tolist()
            samples.append(reference_loop.Sample(prompt, response))
        tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
        texts = [tokenizer.decode(s.response, skip_special_tokens=True) for s in samples]
        scores = uneven_reward(texts)
        for start in range(0, len(samples), GROUP):
            for sample, advantage in zip(samples[start:], reference_loop.group_advantages(scores[start : start + GROUP]), strict=False):
                sample.advantage = advantage
        assert [s.advantage for s in samples] == pytest.approx(rewards.tolist(), abs=1e-5)
        policy = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
        reference_loop.remember(policy, reference, samples)
        own = reference_loop.Settings(
            max_tokens=LENGTH,
            loss_type=loss_type,
            beta_low=SENT["beta_low"],
            beta_high=SENT["beta_high"],
            high_covariance_fraction=SENT["high_covariance_fraction"],
        )
        for loss, gradient, state in seen:  # on-policy, then off-policy on the same rollout
            policy.load_state_dict(state)
            truth = reference_loop.loss(policy, samples, own)
            assert loss == pytest.approx(truth.item(), abs=1e-6)
            slow = torch.cat([g.flatten() for g in torch.autograd.grad(truth, list(policy.parameters()))])
            torch.testing.assert_close(gradient, slow, rtol=1e-4, atol=1e-6)
        assert seen[0][0] != pytest.approx(seen[1][0], abs=1e-6)


def test_the_reference_loop_learns() -> None:
    """A truth that does not train would prove little."""
    policy = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED, padding_side="left")
    problems = arithmetic_problems([1], 4, "train")

    def reward(text: str, answer: str) -> float:
        return float(equivalent(answer, extract(text, ["hash"])))

    def share_right() -> float:
        sampling = Sampling(max_tokens=16, batch_size=512)
        groups = TransformersEngine(policy, tokenizer).sample([f"{p.prompt}\n" for p in problems], 128, sampling, seed=0)
        return sum(reward(r.text, p.answer) for p, group in zip(problems, groups, strict=True) for r in group) / 512

    before = share_right()
    batches = [[(f"{p.prompt}\n", p.answer) for p in problems]] * 6
    reference_loop.train(policy, tokenizer, batches, reward, reference_loop.Settings(learning_rate=3e-4, group=8), seed=2)
    assert share_right() > before + 0.1
