"""What a worker minimises: verl's own policy loss on treated advantages, plus the token-weighted KL and entropy."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.core_algos import agg_loss
from verl.utils import tensordict_utils
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from sent_rl.methods import Method, Rollouts, Treatment
from sent_rl.objective import kl_estimate, penalty

KL_COEF = "sent_kl_coef"
"""(B, T) field that the driver adds to the batch: the coefficient of every token's KL."""
FACTS = ("anchor", "kl_estimator", "kl_importance", "clip", "entropy_coef")
"""What else of a treatment the loss needs; one value a step, beside the batch."""
_NO_CLIP = 1e6  # verl multiplies by its clip bounds, so infinite ones would give nan


def fact_name(name: str) -> str:
    return f"sent_{name}"


def sent_loss(config: Any, model_output: Any, data: TensorDict, dp_group: Any = None) -> tuple[Tensor, dict[str, Any]]:
    """Loss of one micro-batch, with verl's denominators of the whole mini-batch; the signature is that of verl's ``ppo_loss``.

    Args:
        config: the actor's; ``config.policy_loss`` is a ``SENTPolicyLossConfig``.
        model_output: nested ``log_probs`` and, where asked for, ``entropy``, with gradient.
        data: the micro-batch, nested, with advantages that are treated already unless the method selects by micro-batch.
    """
    method = config.policy_loss.resolved()
    logps = no_padding_2_padding(model_output["log_probs"], data)
    entropies = no_padding_2_padding(model_output["entropy"], data) if model_output.get("entropy") is not None else None
    treatment, padded = _treatment(method, data, logps, entropies)
    if method.selection_scope == "micro_batch":
        data = _with_advantages(data, treatment.advantages * treatment.policy_weight)
    loss, metrics = ppo_loss(config=_clipped(config, treatment), model_output=model_output, data=data, dp_group=dp_group)
    mask = padded["response_mask"].bool()

    def total(values: Tensor) -> Tensor:
        info = {
            "dp_size": data["dp_size"],
            "batch_num_tokens": data["batch_num_tokens"],
            "global_batch_size": data["global_batch_size"],
            "loss_scale_factor": config.loss_scale_factor,
        }
        aggregated: Tensor = agg_loss(loss_mat=values.where(mask, 0.0), loss_mask=mask, loss_agg_mode=config.loss_agg_mode, **info)
        return aggregated

    old = padded["old_log_probs"].where(mask, 0.0)
    reference = padded["ref_log_prob"].where(mask, 0.0) if "ref_log_prob" in padded.keys() else None  # noqa: SIM118  (a TensorDict)
    valid = logps.where(mask, 0.0)
    weighted_kl, _ = penalty(valid, old, reference, treatment)
    regulariser = total(weighted_kl)
    loss = loss + regulariser
    for name, anchor in (("kl_old", old), ("kl", reference)):
        if anchor is not None:
            kl = kl_estimate(valid.detach(), anchor, old, "k3", importance=True)
            metrics[f"sent/{name}"] = Metric(value=total(kl), aggregation=AggregationType.SUM)
    metrics["sent/penalty"] = Metric(value=regulariser.detach(), aggregation=AggregationType.SUM)
    if treatment.entropy_coef:
        assert entropies is not None, "the trainer asks for entropies where a method has an entropy coefficient"
        loss = loss - treatment.entropy_coef * total(entropies)
    return loss, metrics


def _treatment(method: Method, data: TensorDict, logps: Tensor, entropies: Tensor | None) -> tuple[Treatment, TensorDict]:
    """The treatment of this micro-batch, as the driver decided or, for scope micro_batch, decided here; and the padded fields."""
    fields = ["response_mask", "old_log_probs", "advantages"]
    fields += [name for name in ("ref_log_prob", KL_COEF) if name in data.keys()]  # noqa: SIM118
    padded = data.select(*fields).to_padded_tensor()
    if method.selection_scope == "micro_batch":
        assert entropies is not None, "the trainer asks for entropies where a method selects by micro-batch"
        return method.treat(Rollouts(logps.detach(), entropies.detach(), padded["advantages"], padded["response_mask"])), padded
    facts = {name: tensordict_utils.get_non_tensor_data(data, fact_name(name), None) for name in FACTS}
    clip = facts.pop("clip")
    advantages = padded["advantages"]
    return (
        Treatment(
            advantages=advantages,
            policy_weight=torch.ones_like(advantages),
            kl_coef=padded[KL_COEF],
            clip=None if clip is None else (float(clip[0]), float(clip[1])),
            **facts,
        ),
        padded,
    )


def _with_advantages(data: TensorDict, advantages: Tensor) -> TensorDict:
    """A shallow copy of the micro-batch with other advantages, given padded."""
    from verl.workers.utils.padding import response_to_nested

    changed = data.copy()
    changed["advantages"] = response_to_nested(advantages, data["response_mask"])
    return changed


def _clipped(config: Any, treatment: Treatment) -> Any:
    """The actor's configuration with the clip range of the treatment, where it has one; without dual clip where it has none at all."""
    if treatment.clip is None:
        return config
    low, high = (min(bound, _NO_CLIP) for bound in treatment.clip)
    changes = {"clip_ratio_low": low, "clip_ratio_high": high}
    if low == high == _NO_CLIP:
        changes["clip_ratio_c"] = _NO_CLIP
    changed = copy.copy(config)
    changed.__dict__.update(changes)  # the dataclass is frozen, and building it anew would check what is not ours
    assert {f.name for f in dataclasses.fields(config)} >= set(changes)
    return changed
