"""What a configuration of verl must not be, and what the trainer sets in it."""

from __future__ import annotations

import warnings
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from sent_rl.errors import UserError
from sent_rl.methods import Method
from sent_rl.trainers.verl.entropies import ACTOR, Setting, check_entropies

POLICY_LOSS = "sent_rl.trainers.verl.config.SENTPolicyLossConfig"


def check(config: DictConfig, method: Method, staged: bool) -> None:
    """Refuse what cannot work, and warn of what has no effect.

    Raises:
        UserError: names the key and what to set.
    """

    def setting(key: str, default: Any = None) -> Any:
        found = OmegaConf.select(config, key)
        return default if found is None else found

    if setting("algorithm.rollout_correction.bypass_mode", False):
        raise UserError(
            "algorithm.rollout_correction.bypass_mode: without the pass for the old log-probs there"
            " are no entropies to select by; set it to False"
        )
    if setting("distillation.enabled", False):
        raise UserError("distillation.enabled: the loss of trainer mode 'sent' has no distillation term; set it to False")
    if method.online_curriculum and not staged:
        raise UserError(f"method {method.name!r} orders the problems by stage, but the rows have no extra_info.stage")
    if staged:
        _check_stages(setting)
    _check_loss(setting, method)
    check_entropies(setting, method)


def _check_stages(setting: Setting) -> None:
    """Refuse what would put problems of two stages into one batch, or save a wrong place."""
    if setting("algorithm.filter_groups.enable", False):
        raise UserError(
            "algorithm.filter_groups.enable: the groups that replace filtered ones come from the"
            " next stage; set it to False, or leave out extra_info.stage"
        )
    if setting("trainer.v1.sampler.sync_refill_failed_groups", False):
        raise UserError(
            "trainer.v1.sampler.sync_refill_failed_groups: the groups that replace failed ones come"
            " from the next stage; set it to False, or leave out extra_info.stage"
        )
    if setting("data.dataloader_num_workers", 0) != 0:
        raise UserError(
            "data.dataloader_num_workers: workers read ahead, so that the place in the stages would be saved wrongly; set it to 0"
        )


def _check_loss(setting: Setting, method: Method) -> None:
    """Refuse settings that would change the method's loss; warn of a penalty without effect."""
    mode = setting(f"{ACTOR}.policy_loss.loss_mode", "vanilla")
    if mode != "vanilla" and method.clip is not None:
        raise UserError(
            f"{ACTOR}.policy_loss.loss_mode: method {method.name!r} has a clip range of its own,"
            f" which is meant for loss mode 'vanilla' and not for {mode!r}; set it to vanilla"
        )
    if method.has_entropy_bonus and setting(f"{ACTOR}.entropy_coeff", 0):
        raise UserError(f"{ACTOR}.entropy_coeff: verl would add a second entropy bonus to that of method {method.name!r}; set it to 0")
    if getattr(method, "anchor", None) == "old" and _updates_per_step(setting) == 1:
        warnings.warn(
            f"sent-rl: the KL of method {method.name!r} to the old policy has no effect: it has no"
            " gradient at the first update of a step, and there is only one; make"
            f" {ACTOR}.ppo_mini_batch_size smaller than data.train_batch_size, or raise"
            f" {ACTOR}.ppo_epochs",
            stacklevel=4,
        )


def _updates_per_step(setting: Setting) -> int:
    mini_batches = int(setting("data.train_batch_size")) // int(setting(f"{ACTOR}.ppo_mini_batch_size"))
    return mini_batches * int(setting(f"{ACTOR}.ppo_epochs", 1))


def require_policy_loss(config: DictConfig) -> None:
    """Raise a UserError unless the policy loss is configured as ours."""
    loss = OmegaConf.select(config, f"{ACTOR}.policy_loss")
    if loss is None or loss.get("_target_") != POLICY_LOSS:
        raise UserError(f"{ACTOR}.policy_loss._target_: trainer mode 'sent' needs it to be {POLICY_LOSS}")


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


def set_training_steps(config: DictConfig, steps: int) -> None:
    """The length of a run with stages, where verl keeps it: learning-rate schedules end with it."""
    with open_dict(config):
        config.trainer.total_epochs = 1  # one walk through the stages is one epoch of verl's
        for key in (f"{ACTOR}.optim", "critic.optim"):
            if OmegaConf.select(config, key) is not None:
                OmegaConf.update(config, f"{key}.total_training_steps", steps)
