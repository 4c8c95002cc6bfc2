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
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from sent_rl.methods import Rollouts, State, Treatment
from sent_rl.objective import kl_estimate, penalty

KL_COEF = "sent_kl_coef"
"""(B, T) field that the driver adds to the batch: the coefficient of every token's KL."""
FACTS = ("anchor", "kl_estimator", "kl_importance", "clip", "entropy_coef")
"""What else of a treatment the loss needs; one value a step, beside the batch."""
STEP = "sent_step"
"""The number of the step, beside a batch that is treated in the workers."""
_NO_CLIP = 1e9
"""A bound that no ratio reaches: verl keeps ratios below exp(20). It multiplies by its bounds, so an
infinite one would give nan."""
_PASSES = 2**20
"""More passes than a worker makes in one step."""


def fact_name(name: str) -> str:
    return f"sent_{name}"


class SENTLoss:
    """The loss function of a worker; each worker has one of its own.

    Args:
        config: the actor's; ``config.policy_loss`` is a ``SENTPolicyLossConfig``.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.method = config.policy_loss.resolved()
        self.step, self.passes = -1, 0

    def __call__(self, model_output: Any, data: TensorDict, dp_group: Any = None) -> tuple[Tensor, dict[str, Any]]:
        """Loss and metrics of one micro-batch, with verl's denominators of the whole mini-batch;
        the signature is that of verl's ``ppo_loss``.

        Args:
            model_output: nested ``log_probs`` and, where asked for, ``entropy``, with gradient.
            data: the micro-batch, nested, with advantages that are treated already unless the
                method selects by micro-batch.
            dp_group: the data-parallel ranks; None for one.
        """
        logps, entropies = (_padded(model_output.get(name), data) for name in ("log_probs", "entropy"))
        assert logps is not None
        fields = _fields(data)
        if self.method.selection_scope == "micro_batch":
            treatment = self._treat(data, fields, logps, entropies, dp_group)
            data = _with_advantages(data, treatment.advantages * treatment.policy_weight)
        else:
            treatment = _driver_treatment(data, fields)
        loss, metrics = ppo_loss(
            config=_clipped(self.config, treatment),
            model_output=model_output,
            data=data,
            dp_group=dp_group,
        )
        regulariser, more = self._regulariser(treatment, data, fields, logps, entropies)
        return loss + regulariser, {**metrics, **more}

    def _treat(
        self,
        data: TensorDict,
        fields: TensorDict,
        logps: Tensor,
        entropies: Tensor | None,
        dp_group: Any,
    ) -> Treatment:
        """The treatment of this micro-batch by itself, from the pass that is being trained on."""
        assert entropies is not None, "the trainer asks for entropies where a method treats here"
        rollouts = Rollouts(logps.detach(), entropies.detach(), fields["advantages"], fields["response_mask"])
        treatment: Treatment = self.method.treat(rollouts, self._draw(data, dp_group))
        return treatment

    def _draw(self, data: TensorDict, dp_group: Any) -> State:
        """The number of this pass's random draw: of step, rank and pass, so that no two passes draw
        alike, and that a resumed run, which begins with a step, draws as an uncut one."""
        step = int(tensordict_utils.get_non_tensor_data(data, STEP, 0))
        if step != self.step:
            self.step, self.passes = step, 0
        rank, ranks = 0, 1
        if dp_group is not None:
            rank = torch.distributed.get_rank(dp_group)
            ranks = torch.distributed.get_world_size(dp_group)
        number = (step * ranks + rank) * _PASSES + self.passes
        self.passes += 1
        return {"step": float(number)}

    def _regulariser(
        self,
        treatment: Treatment,
        data: TensorDict,
        fields: TensorDict,
        logps: Tensor,
        entropies: Tensor | None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """What is added to verl's loss: the token-weighted KL and the entropy bonus; and metrics.

        Importance weights of the rollout (``rollout_is_weights``) multiply the surrogate, inside
        verl's loss, and not these terms: as with verl's own KL and entropy terms.
        """
        mask = fields["response_mask"].bool()

        def total(values: Tensor) -> Tensor:
            return _aggregated(self.config, data, values.where(mask, 0.0), mask)

        old = fields["old_log_probs"].where(mask, 0.0)
        reference = fields.get("ref_log_prob", None)
        reference = None if reference is None else reference.where(mask, 0.0)
        valid, metrics = logps.where(mask, 0.0), {}
        weighted_kl, _ = penalty(valid, old, reference, treatment)
        regulariser = total(weighted_kl)
        metrics["sent/penalty"] = _summed(regulariser.detach())
        for name, anchor in (("kl_old", old), ("kl", reference)):
            if anchor is not None:
                kl = kl_estimate(valid.detach(), anchor, old, "k3", importance=True)
                metrics[f"sent/{name}"] = _summed(total(kl))
        if treatment.entropy_coef:
            assert entropies is not None, "the trainer asks for entropies where there is a bonus"
            regulariser = regulariser - treatment.entropy_coef * total(entropies)
        return regulariser, metrics


def _padded(values: Any, data: TensorDict) -> Tensor | None:
    """A nested output of the model as (B, T) of the responses."""
    return None if values is None else no_padding_2_padding(values, data)


def _fields(data: TensorDict) -> TensorDict:
    """The fields of a micro-batch that are used here, (B, T)."""
    names = ["response_mask", "old_log_probs", "advantages", "ref_log_prob", KL_COEF]
    return data.select(*(name for name in names if name in data.keys())).to_padded_tensor()  # noqa: SIM118


def _driver_treatment(data: TensorDict, fields: TensorDict) -> Treatment:
    """The treatment of this micro-batch, as the driver decided."""
    facts = {name: tensordict_utils.get_non_tensor_data(data, fact_name(name), None) for name in FACTS}
    clip = facts.pop("clip")
    return Treatment(
        advantages=fields["advantages"],
        policy_weight=torch.ones_like(fields["advantages"]),
        kl_coef=fields[KL_COEF],
        clip=None if clip is None else (float(clip[0]), float(clip[1])),
        **facts,
    )


def _aggregated(config: Any, data: TensorDict, values: Tensor, mask: Tensor) -> Tensor:
    """(B, T) as one number, by verl's aggregation and with its denominators."""
    loss: Tensor = agg_loss(
        loss_mat=values,
        loss_mask=mask,
        loss_agg_mode=config.loss_agg_mode,
        dp_size=data["dp_size"],
        batch_num_tokens=data["batch_num_tokens"],
        global_batch_size=data["global_batch_size"],
        loss_scale_factor=config.loss_scale_factor,
    )
    return loss


def _summed(value: Tensor) -> Metric:
    """A metric that adds up over micro-batches."""
    return Metric(value=value, aggregation=AggregationType.SUM)


def _with_advantages(data: TensorDict, advantages: Tensor) -> TensorDict:
    """A shallow copy of the micro-batch with other advantages, given padded."""
    changed = data.copy()
    changed["advantages"] = response_to_nested(advantages, data["response_mask"])
    return changed


def _clipped(config: Any, treatment: Treatment) -> Any:
    """The actor's configuration with the clip range of the treatment, where it has one.

    That range is then the whole clip: verl's dual clip (``clip_ratio_c``, 3 by default), which holds
    back tokens of negative advantage at large ratios, is off. The published losses of Clip-Cov,
    KL-Cov and SENT, and verl's own versions of the first two, have none.
    """
    if treatment.clip is None:
        return config
    low, high = (min(bound, _NO_CLIP) for bound in treatment.clip)
    changes = {"clip_ratio_low": low, "clip_ratio_high": high, "clip_ratio_c": _NO_CLIP}
    changed = copy.copy(config)
    changed.__dict__.update(changes)  # the dataclass is frozen, and building it anew would check what is not ours
    assert {f.name for f in dataclasses.fields(config)} >= set(changes)
    return changed
