"""Settings of TRL beside a method: what would silently mean something else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer
from trl_helpers import GROUP, QUESTIONS, SENT, logged, ours, theirs

from sent_rl.config import load_config
from sent_rl.errors import UserError
from sent_rl.methods import get, names
from sent_rl.pipeline import prepare
from sent_rl.trainers.trl import SENTConfig
from sent_rl.trainers.trl.checks import check_combination
from sent_rl.trainers.trl.run import training_arguments

CLIPPING = ["dapo", "grpo", "bnpo", "dr_grpo", "luspo"]
UNCLIPPED = ["cispo", "sapo", "vespo"]
CLIP_METHODS = ["clip_cov", "kl_cov", "sent_as_published"]
SEQUENCE: dict[str, Any] = {"importance_sampling_level": "sequence", "epsilon": 3e-4}


def check(folder: Path, method: str, options: dict[str, Any] | None = None, **trl: Any) -> None:
    shape = {"bf16": False, "use_cpu": True, "report_to": "none", **trl}
    check_combination(SENTConfig(str(folder), **shape), get(method, **(options or {})))


@pytest.mark.parametrize("loss_type", CLIPPING + UNCLIPPED)
@pytest.mark.parametrize("name", names())
def test_a_clip_range_needs_a_loss_that_clips(tmp_path: Path, name: str, loss_type: str) -> None:
    if name in CLIP_METHODS and loss_type in UNCLIPPED:
        with pytest.raises(UserError, match=rf"^loss_type: '{loss_type}' .*{name}"):
            check(tmp_path, name, loss_type=loss_type)
    else:
        check(tmp_path, name, loss_type=loss_type)


@pytest.mark.parametrize("loss_type", UNCLIPPED)
def test_clip_cov_may_keep_the_trainers_clip(tmp_path: Path, loss_type: str) -> None:
    with pytest.raises(UserError, match=r"set method.ppo_clip: null, or take one of dapo"):
        check(tmp_path, "clip_cov", loss_type=loss_type)
    check(tmp_path, "clip_cov", {"ppo_clip": None}, loss_type=loss_type)


@pytest.mark.parametrize("loss_type", CLIPPING + UNCLIPPED)
@pytest.mark.parametrize("name", names())
def test_ratios_of_sequences(tmp_path: Path, name: str, loss_type: str) -> None:
    by_token = name in ("entropy_advantage", "entropy_mask", "clip_cov")
    refused = name in CLIP_METHODS or (by_token and loss_type not in ("cispo", "vespo"))
    if refused:
        with pytest.raises(UserError, match=r"^(importance_sampling_level|loss_type): .*"):
            check(tmp_path, name, loss_type=loss_type, **SEQUENCE)
    else:
        check(tmp_path, name, loss_type=loss_type, **SEQUENCE)


def test_trls_own_versions_of_a_method_do_not_stack(tmp_path: Path) -> None:
    for name in names():
        with pytest.raises(UserError, match=rf"^top_entropy_quantile: 0.2 .*'{name}'.*'entropy_mask'"):
            check(tmp_path, name, top_entropy_quantile=0.2)
    for options in ({}, {"adaptive": True}):
        with pytest.raises(UserError, match=r"^entropy_coef: .*'entropy_bonus'.* at 0"):
            check(tmp_path, "entropy_bonus", options, entropy_coef=1e-3)
        with pytest.raises(UserError, match=r"^use_adaptive_entropy: .* off"):
            check(tmp_path, "entropy_bonus", options, use_adaptive_entropy=True)
    check(tmp_path, "sent", entropy_coef=1e-3)


def test_delta_does_not_cut_into_the_methods_clip_range(tmp_path: Path) -> None:
    for name in ("kl_cov", "sent_as_published"):
        with pytest.raises(UserError, match=rf"^delta: 4.0 .*'{name}' .none at all.; leave it unset"):
            check(tmp_path, name, delta=4.0)
    with pytest.raises(UserError, match=r"^delta: 1.5 .*'clip_cov' .0 to 2."):
        check(tmp_path, "clip_cov", delta=1.5)
    check(tmp_path, "clip_cov", delta=4.0)
    check(tmp_path, "kl_cov", {"ppo_clip": 0.2}, delta=4.0)
    check(tmp_path, "sent", delta=1.1)  # TRL's own meaning


def test_covariances_need_more_than_one_response(tmp_path: Path) -> None:
    one: dict[str, Any] = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    for name in CLIP_METHODS:
        with pytest.raises(UserError, match=r"^per_device_train_batch_size: .*micro_batch"):
            check(tmp_path, name, {"scope": "micro_batch"}, **one)
        check(tmp_path, name, **one)
    check(tmp_path, "entropy_mask", {"scope": "micro_batch"}, **one)


def test_refusals_come_before_anything_is_loaded_or_sampled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^loss_type: 'cispo' takes epsilon_high as a cap"):
        ours(tmp_path, method="kl_cov", loss_type="cispo", epsilon_high=5.0)
    recipe = load_config("quickstart", ["method={name: kl_cov}", "train.trl.loss_type=cispo"])
    for start in (training_arguments, prepare):
        with pytest.raises(UserError, match=r"^train.trl.loss_type: 'cispo'"):
            start(recipe, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_band_for_scaled_advantages_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"cov_low.*scale_rewards"):
        ours(tmp_path, method="clip_cov", scale_rewards="none")


# ---- TRL's loss on log-probs of ours, in float64

ROWS, LENGTH = 4, 6


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """TRL's trainer, and ours with a method that goes through a treatment and adds nothing."""
    folder = tmp_path_factory.mktemp("combinations")
    nothing = {"name": "sent", "low_entropy_fraction": 0.0, "anchor": "old"}
    return theirs(folder / "a"), ours(folder / "b", method=nothing, num_iterations=2)


def loss_and_gradient(
    trainer: Any, monkeypatch: pytest.MonkeyPatch, advantages: torch.Tensor, **setting: Any
) -> tuple[float, torch.Tensor]:
    """TRL's loss, as the trainer computes it, of one micro-batch with random log-probs."""
    g = torch.Generator().manual_seed(3)
    logps, old, entropies = -torch.rand(3, ROWS, LENGTH, generator=g, dtype=torch.float64)
    logps.requires_grad_()
    mask = (torch.arange(LENGTH) < torch.tensor([[6], [3], [5], [1]])).long()
    ids = torch.ones(ROWS, LENGTH, dtype=torch.long)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids}
    inputs |= {"completion_mask": mask, "num_items_in_batch": mask.sum()}
    inputs |= {"advantages": advantages, "old_per_token_logps": old}
    for key, value in setting.items():
        monkeypatch.setattr(trainer.args if key == "delta" else trainer, key, value)
    monkeypatch.setattr(
        GRPOTrainer,
        "_get_per_token_logps_and_entropies",
        lambda *_, **__: (logps, -entropies, None),
    )
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model.train(), inputs)
    return loss.item(), torch.autograd.grad(loss, logps)[0]


SEQUENCE_RATIO = {"importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 3e-4}
SETTINGS: list[dict[str, Any]] = [
    *({"loss_type": loss_type} for loss_type in CLIPPING + UNCLIPPED),
    *({"loss_type": loss_type, **SEQUENCE_RATIO} for loss_type in ("grpo", "luspo", "sapo")),
    {"loss_type": "cispo", "importance_sampling_level": "sequence", "epsilon_high": 1.3},
    {"loss_type": "cispo", "epsilon_high": 1.3},
    {"delta": 1.3},
    {"off_policy_mask_threshold": 1e-2},
    {"entropy_coef": 0.1, "_entropy_bonus_enabled": True},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_other_setting_of_the_loss_keeps_trls_meaning(
    trainers: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any]
) -> None:
    advantages = torch.tensor([1.2, -0.7, -0.5, 0.0], dtype=torch.float64)
    plain, _ = loss_and_gradient(trainers[0], monkeypatch, advantages)
    truth, gradient = loss_and_gradient(trainers[0], monkeypatch, advantages, **setting)
    found, ours_gradient = loss_and_gradient(trainers[1], monkeypatch, advantages, **setting)
    assert found == pytest.approx(truth, abs=1e-14)
    torch.testing.assert_close(ours_gradient, gradient, rtol=0, atol=1e-14)
    same = setting in ({"loss_type": "dapo"}, {"loss_type": "bnpo"})  # one micro-batch
    assert (truth == pytest.approx(plain, abs=1e-9)) == same  # the setting was at work


def test_why_methods_that_tell_tokens_apart_need_ratios_of_tokens(trainers: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the ratio of a sequence, tokens of weight 0 learn as well."""
    advantages = torch.zeros(ROWS, LENGTH, dtype=torch.float64)
    advantages[:, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    learning = {}
    for level in ("token", "sequence"):
        setting = {"importance_sampling_level": level, "epsilon_low": 9.0, "epsilon_high": 9.0}
        _, gradient = loss_and_gradient(trainers[0], monkeypatch, advantages, **setting)
        learning[level] = (gradient != 0).sum(-1).tolist()
    assert learning == {"token": [1, 1, 1, 1], "sequence": [6, 3, 5, 1]}


def test_responses_that_trl_leaves_out_are_in_no_selection(tmp_path: Path) -> None:
    shape = {"mask_truncated_completions": True, "num_iterations": 2, "max_steps": 1}
    trainer = ours(tmp_path, method=SENT, **shape)
    trainer.train()
    (batch,) = trainer.batches
    whole = batch["completion_mask"].any(-1)
    assert 0 < whole.sum() < QUESTIONS * GROUP  # some are truncated, not all
    assert logged(trainer, "tokens") == [batch["completion_mask"].sum().item()]
    assert (batch["treatment_kl_coef"][~whole] == 0).all()
    assert (batch["treatment_kl_coef"][whole] != 0).any()
