"""A recipe as a verl job: rows, the command, and a script for a Ray cluster. Needs no verl; the same recipe runs with TRL."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from sent_rl.config import RunConfig
from sent_rl.curriculum import StageSampler
from sent_rl.errors import UserError
from sent_rl.files import atomic, write_table, write_text
from sent_rl.models import resolve_model
from sent_rl.problems import Problem, problem_of
from sent_rl.problems.writing import VERL, verl_row
from sent_rl.trainers.reward import load_reward

_STAGES = pa.struct([*VERL.field("extra_info").type, pa.field("stage", pa.int64()), pa.field("semantic_entropy", pa.float64())])
STAGED = VERL.set(VERL.get_field_index("extra_info"), pa.field("extra_info", _STAGES))
"""VERL with ``extra_info.stage`` and ``extra_info.semantic_entropy``."""
_ACTOR, _ROLLOUT, _MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "model"))
_LOSS = f"{_ACTOR}.policy_loss"
_AS_IT_IS = "{{ messages[0]['content'] }}"


def export(
    config: RunConfig,
    folder: Path,
    *,
    curriculum: Sequence[Mapping[str, Any]] | None = None,
    train: Sequence[Problem] = (),
    test: Sequence[Problem] = (),
    gpus: int = 8,
    nodes: int = 1,
    prompt_tokens: int = 1024,
    engine: str = "vllm",
) -> list[str]:
    """Write ``train.parquet``, ``val.parquet``, ``command.sh`` and ``cluster.sh``; returns the command's arguments.

    Args:
        curriculum: staged rows (CURRICULUM), which become stages; without them ``train`` is walked at random.
        gpus: on each of ``nodes`` machines.
        prompt_tokens: longest prompt; longer ones are left out by verl.
        engine: verl's rollout engine, vllm or sglang.

    Raises:
        UserError: the folder exists, or the recipe says something that verl has no word for.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; choose another name or remove it")
    _check_sizes(config, curriculum, len(train))
    arguments = [*overrides(config, gpus, nodes, prompt_tokens, engine)]
    command = ["python", "-m", "verl.trainer.main_ppo", *arguments]
    template = config.prompting.template.strip() if config.prompting.chat else config.prompting.template
    with atomic(folder) as partial:
        partial.mkdir(parents=True)
        if curriculum is not None:
            write_table(partial / "train.parquet", [_staged_row(row, i, template) for i, row in enumerate(curriculum)], STAGED)
        else:
            write_table(partial / "train.parquet", [verl_row(p, i, template) for i, p in enumerate(train)], VERL)
        write_table(partial / "val.parquet", [verl_row(p, i, template) for i, p in enumerate(test)], VERL)
        write_text(partial / "command.sh", _script(command))
        write_text(partial / "cluster.sh", _cluster_script(gpus, nodes))
    return arguments


def _check_sizes(config: RunConfig, curriculum: Sequence[Mapping[str, Any]] | None, problems: int) -> None:
    """Raise a UserError where there are too few problems for a step of every stage."""
    size, steps = config.train.questions_per_step, config.train.steps
    if curriculum is None:
        if problems < size:
            raise UserError(f"train.questions_per_step: {size} questions a step, and only {problems} problems; lower it")
        return
    try:
        batches = None if steps is None else max(1, steps // config.train.updates_per_rollout)
        StageSampler([int(row["stage"]) for row in curriculum], size, passes=config.train.passes, batches=batches)
    except ValueError as error:
        raise UserError(f"train: {error}; change train.questions_per_step, train.steps or the stages") from error


def _staged_row(row: Mapping[str, Any], index: int, template: str) -> dict[str, Any]:
    found = verl_row(problem_of(row), index, template)
    found["extra_info"] |= {"stage": int(row["stage"]), "semantic_entropy": float(row.get("semantic_entropy") or 0.0)}
    return found


def overrides(config: RunConfig, gpus: int, nodes: int, prompt_tokens: int, engine: str) -> list[str]:
    """The recipe in verl's words, for the folder that ``command.sh`` runs in."""
    train, updates = config.train, config.train.updates_per_rollout
    if train.questions_per_step % updates:
        raise UserError(
            f"train.updates_per_rollout: verl cuts a step by questions, and {updates} does not divide {train.questions_per_step};"
            " change one of them"
        )
    if train.stage_reset:
        raise UserError("train.stage_reset: verl runs all stages as one job, which resets nothing; leave it empty")
    if train.trl:
        raise UserError(
            f"train.trl: settings for TRL ({', '.join(train.trl)}) mean nothing to verl; say it in verl's words beside the command"
        )
    if train.lora is not None:
        raise UserError("train.lora: say it in verl's words beside the command (actor_rollout_ref.model.lora_rank), and leave it out here")
    model = resolve_model(config.model.path)
    values: dict[str, Any] = {
        "trainer.v1.trainer_mode": "sent",
        "trainer.project_name": "sent-rl",
        "trainer.experiment_name": config.name,
        "trainer.nnodes": nodes,
        "trainer.n_gpus_per_node": gpus,
        "trainer.logger": ["console", *train.report_to],
        "trainer.save_freq": max(1, train.save_steps // updates),
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.total_epochs": train.passes,
        "trainer.default_local_dir": "checkpoints",
        "data.train_files": "train.parquet",
        "data.val_files": "val.parquet",
        "data.train_batch_size": train.questions_per_step,
        "data.max_prompt_length": prompt_tokens,
        "data.max_response_length": train.max_tokens,
        "data.filter_overlong_prompts": True,
        "data.dataloader_num_workers": 0,
        "data.seed": config.seed,
        "algorithm.adv_estimator": "grpo",
        f"{_MODEL}.path": str(Path(model).resolve()) if Path(model).is_dir() else model,  # the job runs in a folder of its own
        f"{_MODEL}.use_remove_padding": True,
        f"{_MODEL}.enable_gradient_checkpointing": train.gradient_checkpointing,
        f"{_ACTOR}.strategy": "fsdp2",
        f"{_ACTOR}.fsdp_config.entropy_from_logits_with_chunking": True,
        f"{_ACTOR}.ppo_mini_batch_size": train.questions_per_step // updates,
        f"{_ACTOR}.use_dynamic_bsz": True,
        f"{_ACTOR}.ppo_max_token_len_per_gpu": 2 * (prompt_tokens + train.max_tokens),
        f"{_ACTOR}.loss_agg_mode": "token-mean",
        f"{_ACTOR}.optim.lr": train.learning_rate,
        f"{_ACTOR}.use_kl_loss": train.kl_coef > 0,
        f"{_ACTOR}.kl_loss_coef": train.kl_coef,
        f"{_ACTOR}.kl_loss_type": "low_var_kl",
        f"{_LOSS}._target_": "sent_rl.trainers.verl.config.SENTPolicyLossConfig",
        f"+{_LOSS}.method": {k: v for k, v in config.method.model_dump(mode="json").items() if v is not None},
        f"+{_LOSS}.stage_passes": train.passes,
        f"+{_LOSS}.extract": list(config.answers.of_scores),
        f"+{_LOSS}.thoughts": config.answers.thoughts,
        f"{_ROLLOUT}.name": engine,
        f"{_ROLLOUT}.tensor_model_parallel_size": 2 if gpus % 2 == 0 else 1,  # verl's default is 2
        f"{_ROLLOUT}.n": train.generations,
        f"{_ROLLOUT}.temperature": train.temperature,
        f"{_ROLLOUT}.log_prob_use_dynamic_bsz": True,
        f"{_ROLLOUT}.log_prob_max_token_len_per_gpu": 4 * (prompt_tokens + train.max_tokens),
        "reward.custom_reward_function.path": "pkg://sent_rl.trainers.verl.reward",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.extract_with": config.answers.of_reward,
        "+reward.custom_reward_function.reward_kwargs.thoughts": config.answers.thoughts,
    }
    if config.answers.reward_function is not None:
        values |= _own_reward(config)
    if config.answers.opened is not None:  # else trainer mode sent asks the chat template
        values["+reward.custom_reward_function.reward_kwargs.opened"] = config.answers.opened
    if not config.prompting.chat:  # verl always goes through a chat template
        values[f"{_MODEL}.custom_chat_template"] = _AS_IT_IS
    if train.steps is not None:
        values["trainer.total_training_steps"] = max(1, train.steps // updates)
    return [f"{key}={_hydra(value)}" for key, value in values.items()]


def _own_reward(config: RunConfig) -> dict[str, Any]:
    """The function of the user's, which the workers import from where it lies now."""
    path, reward = str(config.answers.reward_function), "reward.custom_reward_function"
    load_reward(path)
    options = {"function": path, "folder": str(Path.cwd()), "chat": config.prompting.chat}
    return {f"{reward}.name": "compute_user_score"} | {f"+{reward}.reward_kwargs.{key}": value for key, value in options.items()}


def _hydra(value: Any) -> str:
    """A value as Hydra's grammar reads it."""
    if isinstance(value, str) and not re.fullmatch(r"[\w./:@-]+", value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_hydra, value)) + "]"
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _script(command: Sequence[str]) -> str:
    lines = " \\\n  ".join([" ".join(command[:3]), *map(shlex.quote, command[3:])])
    return f"""#!/usr/bin/env bash
# Written by `sent export verl`. Anything after the script's name goes to verl too and wins.
set -euo pipefail
cd "$(dirname "$0")"
exec {lines} \\
  "$@"
"""


def _cluster_script(gpus: int, nodes: int) -> str:
    return f"""#!/usr/bin/env bash
# Written by `sent export verl`: a Ray cluster of {nodes} machines with {gpus} GPUs each, then the job.
#   on the first machine:  bash cluster.sh head
#   on each other machine: bash cluster.sh worker ADDRESS-OF-THE-FIRST
#   then, on the first:    bash command.sh
set -euo pipefail
case "${{1:?head, or worker ADDRESS}}" in
  head) ray start --head --port=6379 --num-gpus={gpus} ;;
  worker) ray start --address="${{2:?the address of the first machine}}:6379" --num-gpus={gpus} ;;
esac
"""
