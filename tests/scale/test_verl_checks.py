"""What a job is refused for, or warned of, with verl's own configurations."""

from __future__ import annotations

import copy
import functools
import re
import warnings
from typing import Any

import pytest
import torch
import yaml
from entropy_overlap import entropies, leader, overlap
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from torch._subclasses.fake_tensor import FakeTensorMode
from verl.utils.torch_functional import entropy_from_logits, entropy_from_logits_with_chunking
from verl.workers.engine.base import EngineRegistry

from sent_rl.errors import UserError
from sent_rl.methods import get, names
from sent_rl.trainers.verl.checks import check, set_training_steps
from sent_rl.trainers.verl.entropies import ENGINES, OVERLAP, entropy_use

_LOSS = "actor_rollout_ref.actor.policy_loss"
_REMOVE_PADDING = "actor_rollout_ref.model.use_remove_padding"
_FAMILIES = ("megatron", "torchtitan", "veomni")


@functools.cache
def base(family: str) -> DictConfig:
    """verl's own configuration for a family of engines."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[f"model_engine={family}"])


def job(engine: str = "fsdp2", *overrides: str, device: str = "cpu") -> DictConfig:
    """A job with an engine; overrides are ``key=value``."""
    config = copy.deepcopy(base(engine if engine in _FAMILIES else "dp"))
    common = {
        "actor_rollout_ref.actor.strategy": engine,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 4,
        "data.train_batch_size": 8,
        "data.dataloader_num_workers": 0,
        "trainer.device": device,
    }
    settings = common | dict(override.split("=") for override in overrides)
    for key, value in settings.items():
        OmegaConf.update(config, key, yaml.safe_load(str(value)), force_add=True)
    return config


def checked(config: DictConfig, name: str = "sent", staged: bool = False, **options: Any) -> str:
    """What is warned of, in one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(config, get(name, **options), staged)
    return "\n".join(str(each.message) for each in caught)


# ---- entropies

EAGER = {
    "fsdp": [f"{_REMOVE_PADDING}=False"],
    "fsdp2": ["actor_rollout_ref.actor.fsdp_config.use_torch_compile=False"],
    "fsdp_turbo": [f"{_REMOVE_PADDING}=False"],
    "veomni": [],  # its configuration compiles nothing
    "torchtitan": [f"{_REMOVE_PADDING}=False"],
    "automodel": [f"{_REMOVE_PADDING}=False"],
}
"""Engine -> settings with which it calls verl's eager function."""


def chunked(engine: str) -> list[str]:
    section = ENGINES[engine].section
    key = f"actor_rollout_ref.actor.{section}.entropy_from_logits_with_chunking"
    return [f"{key}=True", f"{_REMOVE_PADDING}=True"]


@pytest.mark.parametrize("engine", EAGER)
def test_bfloat16_entropies_are_refused_for_every_engine(engine: str) -> None:
    with pytest.raises(UserError, match="computes entropies in bfloat16 on device 'cpu'") as refusal:
        checked(job(engine, *EAGER[engine]))
    assert checked(job(engine, *EAGER[engine], *chunked(engine))) == ""
    keys = re.findall(r"(actor_rollout_ref\.[\w.]+)=True", str(refusal.value))
    assert keys
    fixed = job(engine, *EAGER[engine], *(f"{key}=True" for key in keys))
    assert checked(fixed) == ""  # what the sentence says to set is enough


@pytest.mark.parametrize("engine", EAGER)
def test_entropies_that_autocast_saves_are_warned_of(engine: str) -> None:
    for device in ("cuda", "npu"):
        text = checked(job(engine, *EAGER[engine], device=device))
        assert f"engine '{engine}'" in text
        assert f"only autocast on '{device}' makes that float32" in text


def test_the_table_has_every_engine_of_verl_and_others_are_warned_of() -> None:
    # Those that verl could not import here are in the table by reading; fsdp registers here.
    registered = {backend for model in EngineRegistry._engines.values() for backend in model}
    assert registered <= set(ENGINES)
    text = checked(job("mine"), "sent")
    assert "engine 'mine' is unknown here; make sure that it computes entropies in float32" in text
    assert checked(job("mine"), "kl_cov") == ""


def test_an_engine_with_float32_logits_is_taken() -> None:
    assert checked(job("megatron", f"{_REMOVE_PADDING}=False")) == ""
    plain = f"{_REMOVE_PADDING}=False"
    precision = "actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype"
    assert checked(job("fsdp2", plain, f"{precision}=fp32")) == ""
    assert checked(job("fsdp2", plain, "actor_rollout_ref.model.use_fused_kernels=True")) == ""
    # verl's FSDP engines do not read this one
    with pytest.raises(UserError, match="in bfloat16"):
        checked(job("fsdp2", plain, "actor_rollout_ref.actor.fsdp_config.dtype=float32"))


@pytest.mark.parametrize("name", [n for n in names() if n not in ("kl_cov", "clip_cov")])
def test_the_sentence_quotes_what_the_method_selects(name: str) -> None:
    config = job("fsdp2", f"{_REMOVE_PADDING}=False", device="cuda")
    text = checked(config, name, staged=True)
    wanted = {
        "grpo": None,
        "entropy_bonus": None,
        "entropy_advantage": "each is off by up to",
        "entropy_mask": "tokens with the highest 20% of entropies, 0.71 to 1.00 are found",
        "high_entropy_kl": "tokens with the highest 20% of entropies, 0.71 to 1.00 are found",
    }.get(name, "tokens with the lowest 80% of entropies, 0.92 to 1.00 are found")
    assert (wanted in text) if wanted else ("entropies" not in text)


def test_the_share_is_the_methods_own() -> None:
    config = job("fsdp2", f"{_REMOVE_PADDING}=False", device="cuda")
    assert "lowest 20% of entropies, 0.48 to 0.96" in checked(config, low_entropy_fraction=0.2)
    assert "lowest 20% of entropies" in checked(config, low_entropy_fraction=0.25)  # the nearest
    for name in ("kl_cov", "clip_cov"):
        for scope in ("step", "micro_batch"):
            assert "entropies" not in checked(config, name, scope=scope)


def test_the_overlaps_are_those_of_verls_function() -> None:
    true, found = entropies(leader, 250)
    for side, share in (("lowest", 0.2), ("lowest", 0.8), ("highest", 0.2)):
        low, high = OVERLAP[side, share]
        assert low - 0.1 < overlap(true, found, side, share) < high + 0.1
    assert overlap(true, found, "lowest", 0.2) < 0.9


def test_autocast_makes_the_eager_function_float32_on_cuda_alone() -> None:
    """By torch's own rules; no device is needed for the types of results."""
    found = {}
    for device in ("cuda", "cpu"):
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, torch.bfloat16)
        try:
            with FakeTensorMode():
                logits = torch.empty(2, 8, device=device, dtype=torch.bfloat16)
                found[device] = entropy_from_logits(logits).dtype
        finally:
            torch.set_autocast_enabled(device, False)
    assert found == {"cuda": torch.float32, "cpu": torch.bfloat16}
    assert entropy_from_logits_with_chunking(torch.zeros(2, 8).bfloat16()).dtype == torch.float32


# ---- stages, losses, resuming


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("trainer.v1.sampler.sync_refill_failed_groups=True", "replace failed ones come from the next stage"),
        ("algorithm.filter_groups.enable=True", "replace filtered ones come from the next stage"),
        ("data.dataloader_num_workers=2", "workers read ahead"),
    ],
)
def test_what_mixes_stages_is_refused(setting: str, key: str) -> None:
    config = job("fsdp2", setting)
    with pytest.raises(UserError, match=f"^{re.escape(setting.partition('=')[0])}: .*{key}.*set it to"):
        checked(config, staged=True)
    assert checked(config) == ""


@pytest.mark.parametrize("mode", ["gspo", "cispo", "clip_cov", "kl_cov"])
@pytest.mark.parametrize("name", ["clip_cov", "kl_cov", "sent_as_published"])
def test_a_clip_range_is_not_given_to_another_loss(name: str, mode: str) -> None:
    with pytest.raises(UserError, match=rf"loss_mode: method '{name}' has a clip range of its own"):
        checked(job("fsdp2", f"{_LOSS}.loss_mode={mode}"), name)
    assert checked(job("fsdp2", f"{_LOSS}.loss_mode={mode}"), "sent") == ""
    assert checked(job("fsdp2", f"{_LOSS}.loss_mode={mode}"), "clip_cov", ppo_clip=None) == ""


def test_a_second_entropy_bonus_and_a_lost_distillation_are_refused() -> None:
    bonus = job("fsdp2", "actor_rollout_ref.actor.entropy_coeff=0.001")
    with pytest.raises(UserError, match="entropy_coeff: verl would add a second entropy bonus"):
        checked(bonus, "entropy_bonus")
    assert checked(bonus, "sent") == ""
    with pytest.raises(UserError, match=r"distillation\.enabled"):
        checked(job("fsdp2", "distillation.enabled=True"))


def test_schedules_end_with_the_stages_the_critics_too() -> None:
    config = job("fsdp2", "trainer.total_epochs=7")
    set_training_steps(config, 42)
    assert config.trainer.total_epochs == 1
    assert config.actor_rollout_ref.actor.optim.total_training_steps == 42
    assert config.critic.optim.total_training_steps == 42


def test_how_a_method_depends_on_entropies_is_found_out() -> None:
    without = {"grpo", "entropy_bonus", "clip_cov", "kl_cov"}
    assert {name for name in names() if entropy_use(get(name)) is None} == without
    assert entropy_use(get("entropy_bonus", adaptive=True)) is None  # it reads log-probs
    published = entropy_use(get("sent_as_published", faithful_bug=True, low_entropy_fraction=0.3))
    assert published is not None
    assert published.side == "lowest"
    assert published.share == pytest.approx(0.3)
