"""What every key of a recipe means to verl: the one table, :data:`KEYS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from sent_rl.config import RunConfig, StageReset, Train, dump_config
from sent_rl.errors import UserError
from sent_rl.models import resolve_model
from sent_rl.trainers.reward import load_reward

ACTOR, REFERENCE, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout", "model"))
MODEL_PATH = f"{MODEL}.path"
_LOSS, _REWARD = f"{ACTOR}.policy_loss", "reward.custom_reward_function"
_AS_IT_IS = "{{ messages[0]['content'] }}"
_RESETS = get_args(StageReset)
_LOGGERS = (
    "clearml",
    "console",
    "file",
    "mlflow",
    "rl_insight",
    "swanlab",
    "tensorboard",
    "trackio",
    "vemlp_wandb",
    "wandb",
)
"""verl's, by the names that verl gives them."""

Words = dict[str, Any]
"""verl's keys, as on Hydra's command line, and their values."""


@dataclass(frozen=True)
class Job:
    """A recipe and the machines that it is to run on."""

    config: RunConfig
    gpus: int
    nodes: int
    prompt_tokens: int
    engine: str

    @property
    def train(self) -> Train:
        return self.config.train

    @property
    def sequence(self) -> int:
        """Longest prompt and response together, in tokens."""
        return self.prompt_tokens + self.train.max_tokens

    @cached_property
    def responses_per_pass(self) -> int:
        """Of one GPU: a micro-batch, or its share of an update where that is less.

        Raises:
            UserError: an update cannot be shared out evenly, in whole micro-batches where these are
                to be exact.
        """
        update = self.train.questions_per_step * self.train.generations // self.train.updates_per_rollout
        share, rest = divmod(update, self.gpus * self.nodes)
        per_pass = min(self.train.responses_per_pass, share)
        if rest or (self.exact_micro_batches and share % per_pass):
            raise UserError(
                f"train.questions_per_step: the {update} responses of an update cannot be shared out to"
                f" {self.gpus * self.nodes} GPUs{' in whole micro-batches' * (not rest)}; change it, or the number of GPUs"
            )
        return per_pass

    @property
    def exact_micro_batches(self) -> bool:
        """Whether the method selects in each micro-batch, so that its size is part of the method."""
        return self.config.method.selection_scope == "micro_batch"


@dataclass(frozen=True)
class Apart:
    """A key that decides nothing in verl's job, with the reason."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """A key that has to keep its default, with what to do instead."""

    instead: str


def _model_path(job: Job) -> Words:
    path = resolve_model(job.config.model.path)
    # The job runs in a folder of its own.
    return {MODEL_PATH: str(Path(path).resolve()) if Path(path).is_dir() else path}


def _dtype(job: Job) -> Words:
    names = {"float32": "fp32", "bfloat16": "bf16"}
    if job.config.model.dtype not in names:
        raise UserError("model.dtype: verl has no word for 'auto'; set float32 or bfloat16")
    name = names[job.config.model.dtype]
    return {f"{ACTOR}.fsdp_config.model_dtype": name, f"{REFERENCE}.fsdp_config.model_dtype": name}


def _method(job: Job) -> Words:
    options = {key: value for key, value in job.config.method.model_dump(mode="json").items() if value is not None}
    return {
        f"{_LOSS}._target_": "sent_rl.trainers.verl.config.SENTPolicyLossConfig",
        f"+{_LOSS}.method": options,
    }


def _reward_function(job: Job) -> Words:
    """The evaluation's grader, or the user's function, imported from where it lies now."""
    path = job.config.answers.reward_function
    if path is None:
        return {f"{_REWARD}.name": "compute_score"}
    load_reward(path)
    options = {"function": path, "folder": str(Path.cwd()), "chat": job.config.prompting.chat}
    return {f"{_REWARD}.name": "compute_user_score"} | {f"+{_REWARD}.reward_kwargs.{key}": value for key, value in options.items()}


def _opened(job: Job) -> Words:
    opened = job.config.answers.opened  # where it is not set, trainer mode sent asks the chat template
    return {} if opened is None else {f"+{_REWARD}.reward_kwargs.opened": opened}


def rollouts_in(steps: int, updates_per_rollout: int) -> int:
    """Rollouts that so many optimizer steps need; the last one may be for fewer updates, as in TRL."""
    return -(-steps // updates_per_rollout)


def _steps(job: Job) -> Words:
    """verl counts rollouts."""
    steps = job.train.steps
    return {} if steps is None else {"trainer.total_training_steps": rollouts_in(steps, job.train.updates_per_rollout)}


def _updates(job: Job) -> Words:
    questions, updates = job.train.questions_per_step, job.train.updates_per_rollout
    if questions % updates:
        raise UserError(
            f"train.updates_per_rollout: verl cuts a step by questions, and {updates} does not divide {questions}; change one of them"
        )
    return {f"{ACTOR}.ppo_mini_batch_size": questions // updates}


def _micro_batch(job: Job) -> Words:
    """Exact where the method depends on it; else its number of tokens, which verl packs."""
    passes = {
        f"{ACTOR}.use_dynamic_bsz": not job.exact_micro_batches,
        f"{ROLLOUT}.log_prob_use_dynamic_bsz": not job.exact_micro_batches,
    }
    if job.exact_micro_batches:
        sizes = (
            f"{ACTOR}.ppo_micro_batch_size_per_gpu",
            *(f"{each}.log_prob_micro_batch_size_per_gpu" for each in (ROLLOUT, REFERENCE)),
        )
        return {**passes, **dict.fromkeys(sizes, job.responses_per_pass)}
    tokens = job.responses_per_pass * job.sequence
    # Log-probs keep no activations, so that twice as many fit.
    return {
        **passes,
        f"{ACTOR}.ppo_max_token_len_per_gpu": tokens,
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 2 * tokens,
    }


def _kl(job: Job) -> Words:
    coefficient = job.train.kl_coef
    return {
        f"{ACTOR}.use_kl_loss": coefficient > 0,
        f"{ACTOR}.kl_loss_coef": coefficient,
        f"{ACTOR}.kl_loss_type": "low_var_kl",
    }


def _stage_reset(job: Job) -> Words:
    """Nothing, or all: then every stage is a job of its own
    (:func:`sent_rl.trainers.verl.export.export`).
    """
    found = set(job.train.stage_reset)
    if found and found != set(_RESETS):
        raise UserError(
            f"train.stage_reset: a job of verl's resets nothing, and a job a stage resets all of {', '.join(_RESETS)};"
            " name all three or none"
        )
    method = job.config.method
    if found and method.state_keys - {"step"}:
        raise UserError(
            f"train.stage_reset: a job a stage would also reset the controller of method {method.name!r};"
            " leave stage_reset out, or train with TRL"
        )
    return {}


def _offload(job: Job) -> Words:
    """FSDP2's own policy, as in TRL; verl's param_offload works between updates alone."""
    if not job.train.offload:
        return {}
    return {
        f"{ACTOR}.fsdp_config.offload_policy": True,
        f"{REFERENCE}.fsdp_config.offload_policy": True,
    }


def _report_to(job: Job) -> Words:
    unknown = [name for name in job.train.report_to if name not in _LOGGERS]
    if unknown:
        raise UserError(f"train.report_to: verl does not know {unknown[0]!r}; take some of {', '.join(_LOGGERS)}")
    return {"trainer.logger": list(dict.fromkeys(["console", *job.train.report_to]))}


def _trl(job: Job) -> Words:
    """Nothing but a k3 that is not multiplied by the ratio: verl's never is."""
    left = [key for key, value in job.train.trl.items() if (key, value) != ("use_bias_correction_kl", False)]
    if left:
        raise UserError(f"train.trl: settings for TRL ({', '.join(left)}) mean nothing to verl; say it in verl's words beside the command")
    return {}


KEYS: Mapping[str, Callable[[Job], Words] | Apart | Refused] = {
    "name": lambda job: {"trainer.experiment_name": job.config.name},
    "description": Apart("for the reader"),
    "seed": lambda job: {
        "data.seed": job.config.seed,
        f"{ACTOR}.data_loader_seed": job.config.seed,
        f"{ACTOR}.fsdp_config.seed": job.config.seed,
        f"{ROLLOUT}.seed": job.config.seed,
    },
    "model.path": _model_path,
    "model.dtype": _dtype,
    "model.stop": Refused("verl ends responses where the model's generation_config.json says; add the tokens to its eos_token_id"),
    "problems.train": lambda job: {"data.train_files": "train.parquet"},
    "problems.test": lambda job: {"data.val_files": "val.parquet"},
    "prompting.template": Apart("it is in the rows"),
    "prompting.chat": lambda job: {} if job.config.prompting.chat else {f"{MODEL}.custom_chat_template": _AS_IT_IS},
    "answers.extract": Apart("of the evaluation; answers.reward and answers.score follow from it where they are not set"),
    "answers.reward": lambda job: {f"+{_REWARD}.reward_kwargs.extract_with": list(job.config.answers.of_reward)},
    "answers.reward_function": _reward_function,
    "answers.score": lambda job: {f"+{_LOSS}.extract": list(job.config.answers.of_scores)},
    "answers.thoughts": lambda job: {
        f"+{_LOSS}.thoughts": job.config.answers.thoughts,
        f"+{_REWARD}.reward_kwargs.thoughts": job.config.answers.thoughts,
    },
    "answers.opened": _opened,
    "engine": Apart("of sent score and sent evaluate; the job samples with --engine"),
    "score.samples": Apart("of sent score, before the job"),
    "score.weights": Apart("of sent score, before the job"),
    "score.unparsed": lambda job: {f"+{_LOSS}.unparsed": job.config.score.unparsed},
    "score.sampling": Apart("of sent score, before the job"),
    "stage": Apart("of sent stage, whose table --curriculum is"),
    "method": _method,
    "train.steps": _steps,
    "train.passes": lambda job: {
        "trainer.total_epochs": job.train.passes,
        f"+{_LOSS}.stage_passes": job.train.passes,
    },
    "train.questions_per_step": lambda job: {"data.train_batch_size": job.train.questions_per_step},
    "train.generations": lambda job: {f"{ROLLOUT}.n": job.train.generations},
    "train.updates_per_rollout": _updates,
    "train.micro_batch": _micro_batch,
    "train.learning_rate": lambda job: {f"{ACTOR}.optim.lr": job.train.learning_rate},
    "train.kl_coef": _kl,
    "train.temperature": lambda job: {f"{ROLLOUT}.temperature": job.train.temperature},
    "train.max_tokens": lambda job: {"data.max_response_length": job.train.max_tokens},
    "train.stage_reset": _stage_reset,
    "train.lora": Refused("say it in verl's words beside the command (actor_rollout_ref.model.lora_rank)"),
    "train.gradient_checkpointing": lambda job: {f"{MODEL}.enable_gradient_checkpointing": job.train.gradient_checkpointing},
    "train.offload": _offload,
    "train.save_steps": lambda job: {"trainer.save_freq": max(1, job.train.save_steps // job.train.updates_per_rollout)},
    "train.report_to": _report_to,
    "train.trl": _trl,
    "evaluate": Apart("of sent evaluate, after the job"),
    "hardware.gpu": Apart("of the price"),
    "hardware.gpus": lambda job: {"trainer.n_gpus_per_node": job.gpus},
}
"""Key of a recipe, or section -> verl's words for it. A test fails for a key without an entry."""


def translate(job: Job) -> Words:
    """The recipe in verl's words, for the folder that the job runs in.

    Raises:
        UserError: the recipe says something that verl has no word for.
    """
    found = _always(job)
    told, defaults = dump_config(job.config), dump_config(RunConfig())
    for key, entry in KEYS.items():
        if isinstance(entry, Refused):
            if _at(told, key) != _at(defaults, key):
                raise UserError(f"{key}: {entry.instead}, and leave it out here")
        elif not isinstance(entry, Apart):
            found |= entry(job)
    return found


def _always(job: Job) -> Words:
    """What no key of a recipe says."""
    return {
        "trainer.v1.trainer_mode": "sent",
        "trainer.project_name": "sent-rl",
        "trainer.nnodes": job.nodes,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.default_local_dir": "checkpoints",
        "data.max_prompt_length": job.prompt_tokens,
        "data.filter_overlong_prompts": True,
        "data.dataloader_num_workers": 0,
        "algorithm.adv_estimator": "grpo",
        f"{MODEL}.use_remove_padding": True,
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.entropy_from_logits_with_chunking": True,
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.clip_ratio_c": 1e9,  # TRL has no dual clip unless its delta is set; verl's default is 3
        f"{ACTOR}.optim.weight_decay": 0.0,  # TRL's default; verl's is 0.01
        f"{ROLLOUT}.name": job.engine,
        f"{ROLLOUT}.tensor_model_parallel_size": 2 if job.gpus % 2 == 0 else 1,  # verl's default is 2
        f"{_REWARD}.path": "pkg://sent_rl.trainers.verl.reward",
    }


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value
