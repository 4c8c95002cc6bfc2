"""What `sent export verl` writes for the paper's three set-ups, read by verl's own configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from verl.utils.config import omega_conf_to_dataclass

from sent_rl.config import load_config
from sent_rl.problems import arithmetic_problems
from sent_rl.trainers.verl.checks import check
from sent_rl.trainers.verl.export import export


@pytest.mark.parametrize("name", ["paper-1.5b", "paper-7b", "paper-14b"])
def test_verl_reads_the_papers_jobs(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    problems = arithmetic_problems([2], 512, "train")
    rows = [{"id": p.id, "prompt": p.prompt, "answer": p.answer, "source": p.source, "stage": i // 256} for i, p in enumerate(problems)]
    export(config, tmp_path / "job", curriculum=rows, test=problems, gpus=config.hardware.gpus)
    script = (tmp_path / "job" / "command.sh").read_text()
    command = shlex.split(script[script.index("exec python") :].replace("\\\n", " "))
    overrides = [word for word in command[4:] if word != "$@"]
    with initialize_config_module("verl.trainer.config", version_base=None):
        found = compose("ppo_trainer", overrides=overrides)
    actor = found.actor_rollout_ref.actor
    assert (found.data.train_batch_size, actor.ppo_mini_batch_size, found.actor_rollout_ref.rollout.n) == (256, 128, 8)
    assert (actor.use_kl_loss, actor.kl_loss_coef, actor.kl_loss_type, actor.optim.lr) == (True, 1e-3, "low_var_kl", 1e-6)
    assert (found.trainer.n_gpus_per_node, found.data.max_response_length) == (4, 2048)
    method = omega_conf_to_dataclass(actor.policy_loss).resolved()
    assert method == config.method
    check(found, method, staged=True)
