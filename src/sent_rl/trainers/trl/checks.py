"""What a configuration of the TRL trainer must not be."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

from transformers import PreTrainedModel

from sent_rl.errors import UserError
from sent_rl.methods import Method
from sent_rl.trainers.trl.config import SENTConfig

CLIPPING_LOSSES = ("dapo", "grpo", "bnpo", "dr_grpo", "luspo")
"""TRL's loss types that clip the ratio to [1 - epsilon, 1 + epsilon_high]."""
_WEIGHT_ONLY = ("cispo", "vespo")
"""Loss types whose ratio is a constant weight: the gradient is that of each token's own log-prob."""


def check_combination(args: SENTConfig, method: Method) -> None:
    """Refuse settings of TRL that would silently mean something else with this method.

    Raises:
        UserError: names the setting and what to set.
    """
    _check_second_treatment(args, method)
    if args.importance_sampling_level == "sequence":
        _check_sequence_ratio(args, method)
    if method.clip is not None:
        _check_clip(args, method, method.clip)
    per_pass = args.per_device_train_batch_size
    if method.selects_by_covariance and method.selection_scope == "micro_batch" and per_pass == 1:
        raise UserError(
            f"per_device_train_batch_size: method {method.name!r} with scope micro_batch finds no"
            " covariance in a micro-batch of one response; set 2 or more (train.micro_batch in a"
            " recipe), or method.scope: step"
        )


def _check_second_treatment(args: SENTConfig, method: Method) -> None:
    """TRL's own versions of two of our methods, which would act on top of the method."""
    if args.top_entropy_quantile != 1:
        raise UserError(
            f"top_entropy_quantile: {args.top_entropy_quantile} would mask tokens on top of method"
            f" {method.name!r}; leave it at 1, and take method 'entropy_mask' for that mask (TRL's"
            " own is its scope: micro_batch with denominator: all)"
        )
    if method.has_entropy_bonus and (args.entropy_coef or args.use_adaptive_entropy):
        key = "entropy_coef" if args.entropy_coef else "use_adaptive_entropy"
        raise UserError(
            f"{key}: TRL would add its entropy bonus to that of method {method.name!r}; leave"
            " entropy_coef at 0 and use_adaptive_entropy off, and set method.coef or method.adaptive"
        )


def _check_sequence_ratio(args: SENTConfig, method: Method) -> None:
    """GSPO: one ratio for all tokens of a response, with a clip range near 3e-4."""
    if method.weighs_tokens and args.loss_type not in _WEIGHT_ONLY:
        raise UserError(
            "importance_sampling_level: through the ratio of a sequence every token learns from the"
            f" mean of its response's treated advantages, so method {method.name!r} could not tell"
            " tokens apart; set it to 'token'"
        )
    if method.clip is not None and args.loss_type in CLIPPING_LOSSES:
        raise UserError(
            f"importance_sampling_level: {_clip_of(method)} is meant for ratios of tokens and would"
            " replace epsilon, which here bounds the ratio of a sequence; set it to 'token'"
        )


def _check_clip(args: SENTConfig, method: Method, clip: tuple[float, float]) -> None:
    """A clip range of the method's own, where TRL does something else with it or against it."""
    if args.loss_type not in CLIPPING_LOSSES:
        meaning = {"cispo": "takes epsilon_high as a cap on the ratio"}
        keep = "set method.ppo_clip: null, or " if _may_keep_the_trainers(method) else ""
        raise UserError(
            f"loss_type: {args.loss_type!r} {meaning.get(args.loss_type, 'clips no ratio')}, so"
            f" {_clip_of(method)} cannot hold there; {keep}take one of {', '.join(CLIPPING_LOSSES)}"
        )
    if args.delta is not None and args.delta <= 1 + clip[1]:
        raise UserError(f"delta: {args.delta} would bound ratios inside {_clip_of(method)}; leave it unset")


def _clip_of(method: Method) -> str:
    """The clip range of a method that has one, as part of a sentence."""
    assert method.clip is not None
    low, high = method.clip
    shown = "none at all" if math.isinf(high) else f"{1 - low:g} to {1 + high:g}"
    return f"the clip range of method {method.name!r} ({shown})"


def _may_keep_the_trainers(method: Method) -> bool:
    """Whether the method has an option that leaves the clip range to the trainer."""
    if "ppo_clip" not in type(method).model_fields:
        return False
    return method.model_copy(update={"ppo_clip": None}).clip is None


def check(args: SENTConfig, method: Method, model: str | PreTrainedModel, model_id: str, peft_config: Any, staged: bool) -> None:
    """Refuse what cannot work, and warn of what has no effect."""
    check_combination(args, method)
    adapters = peft_config is not None or hasattr(model, "peft_config")
    if method.needs_reference and not model_id and not adapters:
        raise UserError(
            f"method {method.name!r} takes a KL to the reference policy, which TRL loads from the model's path, but this model has none;"
            " save it with save_pretrained and pass the folder"
        )
    if (method.needs_reference or args.beta) and not adapters and _loads_on_one_process():
        raise UserError(
            "fsdp_cpu_ram_efficient_loading: with FSDP2 TRL never hands the reference policy's weights to the other processes, and the KL"
            " would be to noise; set it to false in the accelerate configuration (--layout fsdp2 has it so)"
        )
    if method.online_curriculum and not staged:
        raise UserError(f"method {method.name!r} orders the problems by stage, but the training set has no column 'stage'")
    if "reference" in args.stage_reset and (adapters or args.fsdp or args.deepspeed):
        raise UserError("stage_reset: 'reference' works with a whole reference model in each process: not with adapters, FSDP or DeepSpeed")
    if getattr(method, "anchor", None) == "old" and args.updates_per_rollout <= 1:
        warnings.warn(
            f"the KL of method {method.name!r} to the old policy has no effect: at the first update after a rollout it has zero gradient,"
            " and there is only one; raise num_iterations or steps_per_generation (train.updates_per_rollout in a recipe)",
            stacklevel=3,
        )
    if args.scale_rewards == "none" and _has_default_band(method):
        warnings.warn(
            f"method {method.name!r}: its band from cov_low to cov_high is for advantages of unit"
            " standard deviation, and scale_rewards 'none' leaves them as they are; set both by the"
            " logged covariance/top",
            stacklevel=3,
        )
    if args.steps_per_generation < args.gradient_accumulation_steps:
        warnings.warn(
            f"steps_per_generation ({args.steps_per_generation}) is below gradient_accumulation_steps ({args.gradient_accumulation_steps}):"
            " tokens are selected over each rollout, so over less than an optimizer step; leave steps_per_generation unset",
            stacklevel=3,
        )


def _has_default_band(method: Method) -> bool:
    """Whether the method picks tokens between two covariances that nobody has set."""
    fields = type(method).model_fields
    band = [key for key in ("cov_low", "cov_high") if key in fields]
    return bool(band) and all(getattr(method, key) == fields[key].default for key in band)


def _loads_on_one_process() -> bool:
    """Whether accelerate was told to load weights on the first process only, and to use FSDP2."""
    said = {key: os.environ.get(key, "").lower() for key in ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")}
    return set(said.values()) == {"true"} and os.environ.get("FSDP_VERSION") == "2"
