"""What a configuration of the TRL trainer must not be."""

from __future__ import annotations

import os
import warnings
from typing import Any

from transformers import PreTrainedModel

from sent_rl.errors import UserError
from sent_rl.methods import Method
from sent_rl.trainers.trl.config import SENTConfig


def check(args: SENTConfig, method: Method, model: str | PreTrainedModel, model_id: str, peft_config: Any, staged: bool) -> None:
    """Refuse what cannot work, and warn of what has no effect."""
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
    if args.steps_per_generation < args.gradient_accumulation_steps:
        warnings.warn(
            f"steps_per_generation ({args.steps_per_generation}) is below gradient_accumulation_steps ({args.gradient_accumulation_steps}):"
            " tokens are selected over each rollout, so over less than an optimizer step; leave steps_per_generation unset",
            stacklevel=3,
        )


def _loads_on_one_process() -> bool:
    """Whether accelerate was told to load weights on the first process only, and to use FSDP2."""
    said = {key: os.environ.get(key, "").lower() for key in ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")}
    return set(said.values()) == {"true"} and os.environ.get("FSDP_VERSION") == "2"
