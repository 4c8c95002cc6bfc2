"""What a configuration of verl must not be, and what the trainer sets in it."""

from __future__ import annotations

import warnings
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from sent_rl.errors import UserError
from sent_rl.methods import Method

POLICY_LOSS = "sent_rl.trainers.verl.config.SENTPolicyLossConfig"
_ACTOR = "actor_rollout_ref.actor"


def check(config: DictConfig, method: Method, staged: bool) -> None:
    """Refuse what cannot work, and warn of what has no effect.

    Raises:
        UserError: names the key and what to set.
    """

    def value(key: str, default: Any = None) -> Any:
        found = OmegaConf.select(config, key)
        return default if found is None else found

    if value("algorithm.rollout_correction.bypass_mode", False):
        raise UserError(
            "algorithm.rollout_correction.bypass_mode: without the pass for the old log-probs there are no entropies to select by;"
            " set it to False"
        )
    if value("algorithm.filter_groups.enable", False) and staged:
        raise UserError("algorithm.filter_groups: refilling groups mixes the stages of a curriculum; switch it off, or drop the stages")
    if value("data.dataloader_num_workers", 0) != 0 and staged:
        raise UserError("data.dataloader_num_workers: workers read ahead, so that the place in the stages would be saved wrongly; set 0")
    if method.online_curriculum and not staged:
        raise UserError(f"method {method.name!r} orders the problems by stage, but the rows have no extra_info.stage")
    if method.needs_stats or method.selection_scope == "micro_batch":
        _check_entropies(value)
    if getattr(method, "anchor", None) == "old" and _updates_per_step(value) == 1:
        warnings.warn(
            f"sent-rl: the KL of method {method.name!r} to the old policy has no effect: the first update of a step has no gradient of it,"
            f" and there is only one; make {_ACTOR}.ppo_mini_batch_size smaller than data.train_batch_size, or raise {_ACTOR}.ppo_epochs",
            stacklevel=3,
        )


def _updates_per_step(value: Any) -> int:
    return int(value("data.train_batch_size")) // int(value(f"{_ACTOR}.ppo_mini_batch_size")) * int(value(f"{_ACTOR}.ppo_epochs", 1))


def _check_entropies(value: Any) -> None:
    """verl computes entropies in the type of the logits unless they are compiled or cut in chunks; bfloat16 picks the wrong tokens."""
    engine = f"{_ACTOR}.fsdp_config"
    if value(f"{_ACTOR}.strategy") not in ("fsdp", "fsdp2"):
        return  # the other engines compute them in float32
    precision = value(f"{engine}.mixed_precision.param_dtype") or value(f"{engine}.dtype", "bfloat16")
    if str(precision) in ("fp32", "float32", "torch.float32"):
        return
    if not value("actor_rollout_ref.model.use_remove_padding", False):
        raise UserError(
            "actor_rollout_ref.model.use_remove_padding: without it verl computes entropies in bfloat16, which picks the wrong tokens"
            " (55 % overlap with the right ones, measured); set it to True, and"
            f" {engine}.entropy_from_logits_with_chunking=True"
        )
    if not value(f"{engine}.entropy_from_logits_with_chunking", False) and not value(f"{engine}.use_torch_compile", True):
        raise UserError(f"{engine}.entropy_from_logits_with_chunking: set it to True, else entropies are computed in bfloat16")


def require_policy_loss(config: DictConfig) -> None:
    """Raise a UserError unless the policy loss is configured as ours."""
    loss = OmegaConf.select(config, f"{_ACTOR}.policy_loss")
    if loss is None or loss.get("_target_") != POLICY_LOSS:
        raise UserError(f"{_ACTOR}.policy_loss._target_: trainer mode 'sent' needs it to be {POLICY_LOSS}")


def adapt(config: DictConfig, method: Method) -> bool:
    """Set what the method needs of verl: a reference policy, entropies in the loss. Trainer mode becomes ``sync``, which verl asks for.

    Returns:
        Whether the reference policy is there for the method alone, so that verl's own uniform KL is to be left out.
    """
    with open_dict(config):
        config.trainer.v1.trainer_mode = "sync"  # verl compares the mode with this word in places
        actor = config.actor_rollout_ref.actor
        if method.selection_scope == "micro_batch" or method.has_entropy_bonus:
            actor.calculate_entropy = True
        own_kl = bool(actor.use_kl_loss)
        if method.needs_reference and not own_kl:
            actor.use_kl_loss = True
            actor.kl_loss_coef = 0.0
    return method.needs_reference and not own_kl
