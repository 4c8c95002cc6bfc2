"""A recipe as a verl job: rows, the command, and a script for a Ray cluster. Needs no verl."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from sent_rl.config import RunConfig
from sent_rl.context import positions
from sent_rl.curriculum import StageSampler
from sent_rl.errors import UserError
from sent_rl.files import atomic, write_table, write_text
from sent_rl.problems import Problem, problem_of
from sent_rl.problems.writing import VERL, verl_row
from sent_rl.trainers.verl.translation import MODEL_PATH, Job, Words, rollouts_in, translate

_STAGES = pa.struct([*VERL.field("extra_info").type, pa.field("stage", pa.int64()), pa.field("semantic_entropy", pa.float64())])
STAGED = VERL.set(VERL.get_field_index("extra_info"), pa.field("extra_info", _STAGES))
"""VERL with ``extra_info.stage`` and ``extra_info.semantic_entropy``."""
_PROMPT = 1024


def export(
    config: RunConfig,
    folder: Path,
    *,
    curriculum: Sequence[Mapping[str, Any]] | None = None,
    train: Sequence[Problem] = (),
    test: Sequence[Problem] = (),
    gpus: int = 8,
    nodes: int = 1,
    prompt_tokens: int | None = None,
    engine: str = "vllm",
) -> list[str]:
    """Write ``train.parquet``, ``val.parquet``, ``command.sh`` and ``cluster.sh``; returns the
    command's arguments.

    Where ``train.stage_reset`` names all three, every stage of ``curriculum`` is a job of its own
    (``train-N.parquet``), and ``command.sh`` runs them one after the other.

    Args:
        curriculum: staged rows (CURRICULUM), which become stages; without them ``train`` is walked
            at random.
        gpus: on each of ``nodes`` machines.
        prompt_tokens: longest prompt; longer ones are left out by verl. 1,024 where not given, or
            what the model's positions leave.
        engine: verl's rollout engine, vllm or sglang.

    Raises:
        UserError: the folder exists, or the recipe says something that verl has no word for.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; choose another name or remove it")
    sampler = _check_sizes(config, curriculum, len(train))
    words = translate(Job(config, gpus, nodes, _longest_prompt(config, prompt_tokens), engine))
    template = config.prompting.template.strip() if config.prompting.chat else config.prompting.template
    with atomic(folder) as partial:
        partial.mkdir(parents=True)
        write_table(partial / "val.parquet", [verl_row(p, i, template) for i, p in enumerate(test)], VERL)
        write_text(partial / "cluster.sh", _cluster_script(gpus, nodes))
        if curriculum is None or sampler is None:
            write_table(partial / "train.parquet", [verl_row(p, i, template) for i, p in enumerate(train)], VERL)
            script = _script(words)
        elif config.train.stage_reset:
            for stage, members in enumerate(sampler.members):
                rows = [_staged_row(curriculum[index], index, template) for index in members]
                write_table(partial / f"train-{stage}.parquet", rows, STAGED)
            script = _script_of_stages(words, sampler.batches)
        else:
            write_table(partial / "train.parquet", [_staged_row(row, i, template) for i, row in enumerate(curriculum)], STAGED)
            script = _script(words)
        write_text(partial / "command.sh", script)
    return written(words)


def _check_sizes(config: RunConfig, curriculum: Sequence[Mapping[str, Any]] | None, problems: int) -> StageSampler | None:
    """The stages of a curriculum; a UserError where a stage has too few problems for a step."""
    size, steps = config.train.questions_per_step, config.train.steps
    if curriculum is None:
        if problems < size:
            raise UserError(f"train.questions_per_step: {size} questions a step, and only {problems} problems; lower it")
        return None
    try:
        batches = None if steps is None else rollouts_in(steps, config.train.updates_per_rollout)
        return StageSampler([int(row["stage"]) for row in curriculum], size, passes=config.train.passes, batches=batches)
    except ValueError as error:
        raise UserError(f"train: {error}; change train.questions_per_step, train.steps or the stages") from error


def _longest_prompt(config: RunConfig, asked: int | None) -> int:
    """In tokens; verl reserves room for the longest prompt and the longest response together."""
    limit, tokens = positions(config.model.path), config.train.max_tokens
    if asked is None:
        return _PROMPT if limit is None else min(_PROMPT, limit - tokens)
    if limit is not None and asked + tokens > limit:
        raise UserError(
            f"--prompt-tokens {asked}: with train.max_tokens, {tokens}, they are more than the {limit} positions of"
            f" {config.model.path!r}; at most {limit - tokens}"
        )
    return asked


def _staged_row(row: Mapping[str, Any], index: int, template: str) -> dict[str, Any]:
    found = verl_row(problem_of(row), index, template)
    found["extra_info"] |= {"stage": int(row["stage"]), "semantic_entropy": float(row.get("semantic_entropy") or 0.0)}
    return found


def overrides(config: RunConfig, gpus: int, nodes: int, prompt_tokens: int, engine: str) -> list[str]:
    """The recipe in verl's words, for the folder that ``command.sh`` runs in.

    Raises:
        UserError: the recipe says something that verl has no word for.
    """
    return written(translate(Job(config, gpus, nodes, prompt_tokens, engine)))


def written(words: Words) -> list[str]:
    """Overrides as they stand on Hydra's command line."""
    return [f"{key}={_hydra(value)}" for key, value in words.items()]


def _hydra(value: Any) -> str:
    """A value as Hydra's grammar reads it."""
    if isinstance(value, str) and not re.fullmatch(r"[\w./:@-]+", value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_hydra, value)) + "]"
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _script(words: Words) -> str:
    return f"""#!/usr/bin/env bash
# Written by `sent export verl`. Anything after the script's name goes to verl too and wins.
set -euo pipefail
cd "$(dirname "$0")"
exec {_command(written(words))} \\
  "$@"
"""


def _command(overrides: Sequence[str]) -> str:
    return " \\\n  ".join(["python -m verl.trainer.main_ppo", *map(shlex.quote, overrides)])


def _script_of_stages(words: Words, batches: Sequence[int]) -> str:
    """One job for each stage, each from the model of the one before, with all else new."""
    per_stage = ("data.train_files", "trainer.default_local_dir", "trainer.total_training_steps", MODEL_PATH)
    same = _command(written({key: value for key, value in words.items() if key not in per_stage}))
    return f"""#!/usr/bin/env bash
# Written by `sent export verl`: a job for each of {len(batches)} stages. The next one begins with the model of the one
# before, which verl's merger writes in bfloat16, and with a new optimizer, schedule and reference.
# Anything after the script's name goes to every job too and wins. On several machines this folder must be a shared one.
# The same command again goes on where it was cut.
set -euo pipefail
cd "$(dirname "$0")"
steps=({" ".join(map(str, batches))})
model={shlex.quote(str(words[MODEL_PATH]))}
for stage in "${{!steps[@]}}"; do
  if [ ! -d "model-$stage" ]; then
    {same.replace(chr(10), chr(10) + "    ")} \\
      {MODEL_PATH}="\\"$model\\"" \\
      data.train_files="train-$stage.parquet" \\
      trainer.default_local_dir="checkpoints/stage-$stage" \\
      trainer.total_training_steps="${{steps[$stage]}}" \\
      "$@"
    last="$(cat "checkpoints/stage-$stage/latest_checkpointed_iteration.txt")"
    python -m verl.model_merger merge --backend fsdp --target_dir "model-$stage.partial" \\
      --local_dir "checkpoints/stage-$stage/global_step_$last/actor"
    mv "model-$stage.partial" "model-$stage"
  fi
  model="$PWD/model-$stage"
done
echo "trained model: $model"
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
