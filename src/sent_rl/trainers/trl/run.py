"""One training run from a configuration and a curriculum: a folder that can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sent_rl.answers import equivalent
from sent_rl.config import RunConfig, dump_config, renewed
from sent_rl.errors import UserError, first_line, nearest
from sent_rl.files import atomic, check_claim, claim, partial_path, read_json_lines, write_error, write_text
from sent_rl.models import load
from sent_rl.problems import problem_of, problem_row
from sent_rl.trainers.reward import trl_reward
from sent_rl.trainers.trl.card import Data
from sent_rl.trainers.trl.checks import check_combination
from sent_rl.trainers.trl.config import SENTConfig
from sent_rl.trainers.trl.layouts import check_offloading
from sent_rl.trainers.trl.state import STATE_FILE
from sent_rl.trainers.trl.trainer import SENTTrainer

OnStep = Callable[[Mapping[str, Any], int], None]
"""Called after every step with its metrics and the number of steps of the whole run."""

OnResume = Callable[[Path, Path | None], None]
"""Called where a training goes on, with its folder and the checkpoint; None where none was written yet."""

_FIRST_KEYS = ("step", "stage", "reward", "entropy", "kl", "tokens")
_OF_ROLLOUT = ("reward", "tokens", "frac_reward_zero_std")


def train(
    config: RunConfig,
    curriculum: Sequence[Mapping[str, Any]],
    folder: Path,
    on_step: OnStep = lambda metrics, steps: None,
    on_resume: OnResume = lambda folder, checkpoint: None,
) -> Path:
    """Train the configured model on the rows of a curriculum; resumes at the last whole checkpoint in ``folder``.

    Writes ``metrics.jsonl`` (one object a step), ``checkpoint-N/`` and, at the end, ``final/``.

    Returns:
        The folder of the trained model.

    Raises:
        UserError: ``folder`` holds another run, a setting does not fit, or the disk is full.
    """
    arguments = training_arguments(config, folder)
    identity, final, processes = _identity(config, curriculum), folder / "final", PartialState()
    begun = check_claim(folder, "train.yaml", identity, renew=renewed)
    if begun and final.is_dir():
        return final
    if config.train.offload:
        check_offloading()
    trainer = _build(config, curriculum, arguments)
    trainer.remove_callback(PrinterCallback)  # one line a step is ours
    trainer.add_callback(MetricsFile(folder / "metrics.jsonl", trainer, on_step))
    with processes.main_process_first():
        if processes.is_main_process:
            claim(folder, "train.yaml", identity, renew=renewed)
        checkpoint = last_checkpoint(folder)
    if begun:
        on_resume(folder, checkpoint)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        known = write_error(folder, error)
        if known is None:
            raise
        last_checkpoint(folder)  # removes one that was cut short
        raise known from error
    # All processes take part in saving; the first one names the result.
    with atomic(final) if processes.is_main_process else nullcontext(partial_path(final)) as partial:
        trainer.save_model(str(partial))
        processes.wait_for_everyone()
        if config.train.lora is not None and processes.is_main_process:
            _merge(config, partial)
        if processes.is_main_process:
            trainer.create_model_card(config.name)
            shutil.copy(folder / "README.md", partial)
    processes.wait_for_everyone()
    return final


def _build(config: RunConfig, curriculum: Sequence[Mapping[str, Any]], arguments: SENTConfig) -> SENTTrainer:
    """The trainer; what the libraries refuse becomes one line, and an empty folder that they made is removed again."""
    model, tokenizer = load(config.model)
    dataset = _dataset(config, curriculum)
    options = arguments.chat_template_kwargs or {}
    opened = config.opens_thought(dataset[0]["prompt"], tokenizer=tokenizer, **options)
    own = config.answers.reward_function
    reward = trl_reward(own) if own else _reward(partial(config.answers.read_for_reward, opened=opened), _end_tokens(model, tokenizer))
    try:
        trainer = SENTTrainer(
            model=model,
            reward_funcs=reward,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=_adapter(config),
        )
        trainer.data = _data(config, curriculum)
        return trainer
    except (ValueError, RuntimeError, ImportError, TypeError) as error:
        folder = Path(arguments.output_dir)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise error if isinstance(error, UserError) else UserError(f"train: TRL cannot start ({first_line(error)})") from error


def _data(config: RunConfig, curriculum: Sequence[Mapping[str, Any]]) -> Data | None:
    """What the model card calls the training problems."""
    source, name = config.problems.train, str(curriculum[0].get("source") or "")
    on_hub = source.kind == "hub" and source.dataset == name
    return Data(name if on_hub else Path(name).name, on_hub) if name else None


def _adapter(config: RunConfig) -> Any:
    """peft's configuration of ``train.lora``; None where all weights are trained."""
    if config.train.lora is None:
        return None
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("train.lora: needs peft; pip install 'sent-rl[peft]'") from error
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **config.train.lora})
    except (TypeError, ValueError) as error:
        raise UserError(f"train.lora: peft does not accept this ({first_line(error)})") from error


def _merge(config: RunConfig, folder: Path) -> None:
    """Put the adapter in ``folder`` into the weights of the model that it belongs to: a whole model, which every engine loads."""
    from peft import PeftModel

    model, tokenizer = load(config.model)
    merged = PeftModel.from_pretrained(model.cpu(), str(folder)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    adapter = folder / "adapter"
    adapter.mkdir()
    for file in folder.glob("adapter_*"):
        file.rename(adapter / file.name)


def training_arguments(config: RunConfig, folder: Path) -> SENTConfig:
    """What ``config.train`` means to TRL. ``config.train.trl`` may set anything that has no key of its own there.

    Raises:
        UserError: an unknown key in ``train.trl``, or one that has a key of its own.
    """
    section = config.train
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and not torch.accelerator.is_available():
        raise UserError("train: FSDP needs GPUs; on a CPU accelerate falls back to whole models without a word. Leave --layout out")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    own_responses = responses_per_process(config, processes)
    per_pass = min(section.responses_per_pass, own_responses)
    own: dict[str, Any] = {
        "output_dir": str(folder),
        "seed": config.seed,
        "method": config.method.model_dump(),
        "stage_reset": list(section.stage_reset),
        "extract": list(config.answers.of_scores),
        "thoughts": config.answers.thoughts,
        "opened": config.answers.opened,
        "unparsed": config.score.unparsed,
        "max_steps": section.steps or -1,
        "num_train_epochs": section.passes,
        "per_device_train_batch_size": per_pass,
        "gradient_accumulation_steps": own_responses // per_pass,
        "steps_per_generation": own_responses // per_pass * section.updates_per_rollout,
        "num_generations": section.generations,
        "learning_rate": section.learning_rate,
        "temperature": section.temperature,
        "max_completion_length": section.max_tokens,
        "beta": section.kl_coef,
        "gradient_checkpointing": section.gradient_checkpointing,
        "save_steps": section.save_steps,
        "report_to": list(section.report_to) or "none",
    }
    defaults: dict[str, Any] = {
        "lr_scheduler_type": "constant",
        "bf16": config.model.dtype == "bfloat16" or (torch.cuda.is_available() and torch.cuda.is_bf16_supported()),
        "ddp_find_unused_parameters": False,
        "use_cpu": not torch.accelerator.is_available(),
        "logging_steps": 1,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    known = {field.name for field in fields(SENTConfig)}
    for key in section.trl:
        if key in own:
            raise UserError(f"train.trl.{key}: has a key of its own in train; set that one (docs/configuration.md)")
        if key not in known:
            raise UserError(f"train.trl.{key}: TRL's GRPOConfig has no such key; {nearest(key, known)}")
    try:
        arguments = SENTConfig(**{**defaults, **section.trl, **own})
    except (ValueError, TypeError) as error:
        raise UserError(f"train: TRL does not accept this ({first_line(error)})") from error
    try:
        check_combination(arguments, config.method)
    except UserError as error:
        given = str(error).partition(":")[0] in section.trl
        raise UserError(f"{'train.trl.' if given else 'train: '}{error}") from error
    if arguments.world_size != processes:
        raise UserError(f"train: {processes} processes were started, but they do not form a group")
    return arguments


def responses_per_process(config: RunConfig, processes: int) -> int:
    """How many responses of an optimizer step each process trains on.

    Raises:
        UserError: they cannot be shared out evenly, in whole micro-batches.
    """
    section = config.train
    responses = section.questions_per_step * section.generations // section.updates_per_rollout
    if responses % processes or (responses // processes) % min(section.responses_per_pass, responses // processes):
        raise UserError(f"train: the {responses} responses of an update cannot be shared out to {processes} processes")
    return responses // processes


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; newer ones that a crash cut short are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        try:  # the trainers write these files last, TRL's and then ours
            for name in ("trainer_state.json", STATE_FILE):
                json.loads((checkpoint / name).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(checkpoint)
            continue
        return checkpoint
    return None


class MetricsFile(TrainerCallback):
    """Appends every step's metrics to a file of JSON lines; on resume, drops lines of steps that are taken again."""

    def __init__(self, path: Path, trainer: SENTTrainer, on_step: OnStep) -> None:
        self.path, self.trainer, self.on_step = path, trainer, on_step
        self.of_rollout: dict[str, float] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            kept = [line for line in read_json_lines(self.path) if line["step"] <= state.global_step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if not logs or "entropy" not in logs or not state.is_world_process_zero:
            return
        plan = self.trainer.stage_plan
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        # TRL logs what belongs to a rollout at its first update only
        self.of_rollout.update({key: numbers[key] for key in _OF_ROLLOUT if key in numbers})
        known = {**self.of_rollout, **numbers, "step": state.global_step, "stage": plan.stage_of_step(state.global_step - 1) if plan else 0}
        metrics = {key: known.get(key) for key in _FIRST_KEYS} | known
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        self.on_step(metrics, state.max_steps)


def _reward(read: Callable[[str, bool], str | None], ends: frozenset[int]) -> Callable[..., list[float]]:
    """TRL's reward function: 1 for a right final answer, else 0. The same verdict as the evaluation's.

    Args:
        read: finds the answer in a response, given whether the response ended by itself.
        ends: the tokens that end a response.
    """

    def correct(
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        golds: Sequence[list[str]],
        tolerance: Sequence[float | None],
        **_: Any,
    ) -> list[float]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        answers = [read(text, bool(ids) and ids[-1] in ends) for text, ids in zip(texts, completion_ids, strict=True)]
        return [float(equivalent(gold, answer, off)) for answer, gold, off in zip(answers, golds, tolerance, strict=True)]

    return correct


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a response for TRL."""
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in (tokenizer.eos_token_id, *several) if token is not None)


def _dataset(config: RunConfig, curriculum: Sequence[Mapping[str, Any]]) -> Dataset:
    problems = [problem_of(row) for row in curriculum]
    rows = [problem_row(p) for p in problems] if config.answers.reward_function else []
    told = {name: [row[name] for row in rows] for name in ("id", "answer", "source", "metadata") if rows}
    return Dataset.from_dict(
        {
            **told,
            "prompt": [config.prompting.render(p) for p in problems],
            "golds": [list(p.golds) for p in problems],
            "tolerance": [p.tolerance for p in problems],
            "stage": [row["stage"] for row in curriculum],
            "semantic_entropy": [row.get("semantic_entropy", 0.0) for row in curriculum],
        }
    )


def _identity(config: RunConfig, curriculum: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What makes this training run this one."""
    tree = dump_config(config)
    rows = json.dumps([[row["id"], row["prompt"], row["answer"], row["stage"]] for row in curriculum])
    kept = ("seed", "model", "prompting", "answers", "method", "train")
    return {**{key: tree[key] for key in kept}, "curriculum": hashlib.sha256(rows.encode()).hexdigest()}
