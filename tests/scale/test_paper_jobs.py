"""What `sent export verl` writes for the recipes of the paper and of the authors' run, read by verl's own configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from verl.utils.config import omega_conf_to_dataclass, validate_config

from sent_rl.config import RunConfig, load_config
from sent_rl.problems import arithmetic_problems, problem_row
from sent_rl.trainers.verl.checks import check
from sent_rl.trainers.verl.export import export

PAPER = ("paper-1.5b", "paper-7b", "paper-14b")
PUBLISHED = ("published-1.5b", "published-7b", "published-14b")


def composed(config: RunConfig, folder: Path) -> Any:
    """verl's configuration under the exported overrides; whatever of them verl does not know raises."""
    problems = arithmetic_problems([2], 512, "train")
    rows = [{**problem_row(p), "stage": i // 256} for i, p in enumerate(problems)]
    overrides = export(config, folder, curriculum=rows, test=problems, gpus=config.hardware.gpus)
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=overrides)


@pytest.mark.parametrize("name", [*PAPER, *PUBLISHED])
def test_verl_reads_the_papers_jobs(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    found = composed(config, tmp_path / "job")
    actor = found.actor_rollout_ref.actor
    assert (
        found.data.train_batch_size,
        actor.ppo_mini_batch_size,
        found.actor_rollout_ref.rollout.n,
    ) == (256, 128, 8)
    assert (actor.use_kl_loss, actor.kl_loss_coef, actor.kl_loss_type, actor.optim.lr) == (
        True,
        1e-3,
        "low_var_kl",
        1e-6,
    )
    assert (found.trainer.n_gpus_per_node, found.data.max_response_length) == (4, 2048)
    method = omega_conf_to_dataclass(actor.policy_loss).resolved()
    assert method == config.method
    check(found, method, staged=True)
    validate_config(found, use_reference_policy=True, use_critic=False)
    engine = omega_conf_to_dataclass(actor).engine
    assert (engine.model_dtype, engine.offload_policy, engine.strategy) == (
        "fp32",
        name.endswith("14b"),
        "fsdp2",
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_micro_batches_as_published(name: str, tmp_path: Path) -> None:
    found = composed(load_config(name), tmp_path / "job").actor_rollout_ref
    assert (found.actor.use_dynamic_bsz, found.actor.ppo_micro_batch_size_per_gpu) == (False, 4)
    assert (
        found.rollout.log_prob_use_dynamic_bsz,
        found.rollout.log_prob_micro_batch_size_per_gpu,
    ) == (False, 4)
    assert (found.ref.log_prob_use_dynamic_bsz, found.ref.log_prob_micro_batch_size_per_gpu) == (
        False,
        4,
    )


def test_verl_knows_every_word(tmp_path: Path) -> None:
    """A recipe that says something about every key that is translated."""
    settings = [
        "model.dtype=bfloat16",
        "answers.thoughts=true",
        "answers.opened=true",
        "answers.reward=[boxed]",
        "train.steps=8",
    ]
    settings += ["train.offload=true", "train.report_to=[wandb]", "prompting.chat=false", "seed=7"]
    found = composed(load_config("paper-7b", settings), tmp_path / "job")
    assert found.actor_rollout_ref.ref.fsdp_config.model_dtype == "bf16"
    assert found.actor_rollout_ref.rollout.seed == found.data.seed == 7
    assert found.trainer.total_training_steps == 4
    assert found.reward.custom_reward_function.reward_kwargs.extract_with == ["boxed"]
