"""The TRL trainer: overrides that call ``super()`` and add what a treatment asks for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from sent_rl.answers import ends_in_thought
from sent_rl.curriculum import OnlineStages, counted_answer, semantic_entropy
from sent_rl.errors import UserError
from sent_rl.methods import Method, Rollouts, State, Treatment, resolve
from sent_rl.objective import aggregate, kl_estimate, penalty
from sent_rl.trainers.metrics import treatment_metrics
from sent_rl.trainers.trl.card import Data, citation_of, complete_card, title_of
from sent_rl.trainers.trl.checks import check
from sent_rl.trainers.trl.config import SENTConfig
from sent_rl.trainers.trl.stages import (
    ROW,
    ReorderedSampler,
    RolloutBoundarySaves,
    StageCallback,
    online_order,
    plan_stages,
    staged_schedule,
)
from sent_rl.trainers.trl.state import read_state, write_state

_KL_COEF = "treatment_kl_coef"
_END_OF_PROMPT = 16
"""Tokens of a prompt that show whether it ends in an open ``<think>``."""
# What TRL's loss hands to the forward pass besides ids, for models that see more than text.
_MODEL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


class SENTTrainer(GRPOTrainer):
    """TRL's ``GRPOTrainer`` with a method of :mod:`sent_rl.methods`, and a curriculum where the training set has a ``stage`` column.

    Same arguments as ``GRPOTrainer``, plus ``method``: what ``SENTConfig.method`` takes, or a method object; it wins over the config's.

    How it works: after TRL has sampled and scored a rollout, the log-probs and entropies of all its tokens are gathered over micro-batches
    and ranks, the method treats them, and each rank keeps its rows. TRL's own loss then runs on the treated advantages, and the
    token-weighted KL is added with the same denominator. Log-probs and entropies come from the pass that TRL makes for the old log-probs;
    where it makes none, from the loss's own pass if the rollout is one micro-batch, else from one extra pass without gradient.

    Raises:
        UserError: a configuration that cannot work, e.g. a method with a KL to the reference and a model that was not loaded from a path.
    """

    _tag_names: ClassVar[list[str]] = ["trl", "grpo", "sent-rl"]

    data: Data | None = None
    """What the model card says was trained on; None leaves it out."""

    # TRL's own attributes that are read or swapped here; tests/test_trl_contract.py pins them.
    args: SENTConfig
    beta: float
    epsilon_low: float
    epsilon_high: float
    lr_scheduler: Any
    eos_token_ids: list[int]

    def __init__(
        self,
        model: str | PreTrainedModel,
        reward_funcs: Any = None,
        args: SENTConfig | None = None,
        train_dataset: Any = None,
        *others: Any,
        method: str | Mapping[str, Any] | Method | None = None,
        **kwargs: Any,
    ) -> None:
        model_id = model if isinstance(model, str) else get_config_model_id(model.config)
        args = SENTConfig(f"{Path(model_id).name}-SENT") if args is None else copy.copy(args)
        if not isinstance(args, SENTConfig):
            raise UserError(f"args: SENTTrainer needs a SENTConfig, not a {type(args).__name__}; it takes the same arguments")
        if method is not None:
            args.method = resolve(method).model_dump()
        self.method = resolve(args.method or "sent")
        self.stage_plan = plan_stages(args, train_dataset)
        check(args, self.method, model, model_id, kwargs.get("peft_config"), self.stage_plan is not None)
        self._name, self._paper = title_of(self.method), citation_of(self.method)
        self._rollout_passes: list[tuple[Tensor, Tensor]] | None = None
        self._loss_inputs: dict[str, Any] | None = None
        self._loss_pass: tuple[Tensor, Tensor] | None = None
        self._treatment: Treatment | None = None
        self.method_state: State | None = None
        # TRL builds the reference policy and asks it for log-probs only where its own uniform beta is not 0.
        self._uniform_beta = args.beta
        if (self.method.needs_reference or args.track_reference) and args.beta == 0:
            args.beta = 1.0
        self._order: Sequence[int] | None = None
        if self.stage_plan is not None:
            self._order = self.stage_plan.sampler.order()
            if self.method.online_curriculum:
                self._order, train_dataset = online_order(self.stage_plan, self.method, train_dataset)
        super().__init__(model, reward_funcs, args, train_dataset, *others, **kwargs)
        args.beta = self._uniform_beta
        self.add_callback(RolloutBoundarySaves(args))
        if self.stage_plan is not None:
            self.add_callback(StageCallback(self.stage_plan, args, self._bare_models))

    def _bare_models(self) -> tuple[PreTrainedModel, PreTrainedModel | None]:
        """Policy and reference without what accelerate wraps around them."""
        reference = None if self.ref_model is None else self.accelerator.unwrap_model(self.ref_model)
        return self.accelerator.unwrap_model(self.model), reference

    # ---- rollout: sample, score, treat

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            return batch
        self._rollout_passes = []
        try:
            batch = super()._generate_and_score_completions(inputs)
        finally:
            passes, self._rollout_passes = self._rollout_passes, None
        if isinstance(self._order, OnlineStages):
            self._update_curriculum(self._order, inputs, batch)
        stats = next((p for p in passes or [] if p[0] is batch.get("old_per_token_logps")), None)
        if self.method.selection_scope == "micro_batch":
            return batch  # treated at every pass of the loss
        if stats is None and self.args.steps_per_generation == 1:
            return batch  # the loss's own pass sees the whole rollout, and the batch is treated there
        if stats is None and self.method.needs_stats:
            stats = self._extra_pass(batch)
        self._treat(batch, stats)
        return batch

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        watched = self._rollout_passes is not None and model is not self.ref_model
        if watched:
            kwargs["compute_entropy"] = True
        out: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        logps, entropies = out[0], out[1]
        if watched and self._rollout_passes is not None and entropies is not None:
            self._rollout_passes.append((logps, entropies))
        if self._loss_inputs is not None and entropies is not None:
            self._loss_pass = (logps, entropies)
            if self.model.training and _KL_COEF not in self._loss_inputs:
                # TRL reads the advantages after this pass, so treating them here is in time.
                self._treat(self._loss_inputs, self._loss_pass)
        return out

    def _extra_pass(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies of a whole rollout, (b, T) each, without gradient."""
        with torch.no_grad():
            logps, entropies, _ = super()._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                compute_entropy=True,
                **{key: batch.get(key) for key in _MODEL_INPUTS},
            )
        assert entropies is not None
        return logps, entropies

    def _treat(self, batch: dict[str, Any], stats: tuple[Tensor, Tensor] | None) -> None:
        """Treat the tokens of all ranks, and put this rank's rows into ``batch``, where TRL shuffles and splits them with the rest.

        With ``selection_scope`` micro_batch, ``batch`` is one micro-batch of one rank and is treated by itself.
        """
        mask = _valid(batch)
        advantages = batch["advantages"]
        advantages = advantages[:, None].expand(mask.shape) if advantages.dim() == 1 else advantages
        columns = [mask.to(advantages.dtype), advantages, *(x.detach().to(advantages.dtype) for x in stats or ())]
        own_tokens = torch.stack(columns, dim=-1)
        everywhere = (self._gather_rows(own_tokens) if self.method.selection_scope == "step" else own_tokens).unbind(-1)
        if stats is None:
            rollouts = Rollouts.without_stats(everywhere[1], everywhere[0])
        else:
            stage = self.stage_plan.stage_of_step(self.state.global_step) if self.stage_plan else 0
            rollouts = Rollouts(everywhere[2], everywhere[3], everywhere[1], everywhere[0], stage)
        treatment = self.method.treat(rollouts, self.method_state)
        rows = slice(0, len(mask))
        if self.method.selection_scope == "step":
            rows = slice(self.accelerator.process_index * len(mask), (self.accelerator.process_index + 1) * len(mask))

        def own(values: Tensor) -> Tensor:
            return values[rows, : mask.size(1)]

        batch["advantages"] = own(treatment.advantages * treatment.policy_weight)
        batch[_KL_COEF] = own(treatment.kl_coef)
        self._treatment, self.method_state = treatment, treatment.state
        if self._loss_inputs is not None:  # inside TRL's loss, which reads the clip range after this
            self._set_clip(treatment)
        self._log_treatment(rollouts, treatment, stats is not None)

    def _gather_rows(self, values: Tensor) -> Tensor:
        """(b, T, ...) of every rank -> (B, longest T, ...), in rank order."""
        gathered: Tensor = self.accelerator.gather(self.accelerator.pad_across_processes(values, dim=1))
        return gathered

    # ---- loss: TRL's own, plus the token-weighted KL

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.method.selection_scope == "micro_batch":
            inputs = dict(inputs)  # TRL keeps the original for the next pass over it, which is treated anew
        self._loss_inputs = inputs
        try:
            with self._as_treated():
                loss: Tensor = super()._compute_loss(model, inputs)
        finally:
            self._loss_inputs = None
        assert self._loss_pass is not None
        (logps, entropies), self._loss_pass = self._loss_pass, None
        old_logps = inputs.get("old_per_token_logps")
        old_logps = logps.detach() if old_logps is None else old_logps
        if _KL_COEF not in inputs:  # evaluation: TRL's own loss
            return loss
        self._log_kl(logps.detach(), old_logps, inputs)
        assert self._treatment is not None
        treatment = copy.copy(self._treatment)
        treatment.kl_coef = inputs[_KL_COEF]
        weighted_kl, _ = penalty(logps, old_logps, inputs.get("ref_per_token_logps"), treatment)
        loss = loss + self._aggregate(weighted_kl, inputs)
        if treatment.entropy_coef:
            loss = loss - treatment.entropy_coef * self._aggregate(entropies, inputs)
        return loss

    @contextmanager
    def _as_treated(self) -> Iterator[None]:
        """TRL's loss with the user's own uniform beta, and with the method's clip range where it has one."""
        kept = (self.beta, self.epsilon_low, self.epsilon_high)
        self.beta = self._uniform_beta
        if self._treatment is not None and self.model.training:
            self._set_clip(self._treatment)
        try:
            yield
        finally:
            self.beta, self.epsilon_low, self.epsilon_high = kept

    def _set_clip(self, treatment: Treatment) -> None:
        if treatment.clip is not None:
            self.epsilon_low, self.epsilon_high = treatment.clip

    def _aggregate(self, values: Tensor, inputs: dict[str, Any]) -> Tensor:
        """As TRL's loss aggregates its own per-token values, with the denominators of the optimizer step."""
        mask = _valid(inputs)
        accumulation = self.current_gradient_accumulation_steps
        tokens = mask.sum().clamp(min=1) * accumulation
        if self.loss_type != "bnpo":
            # TRL counts the tokens of a rollout, which may span several optimizer steps
            share = accumulation / (self.accelerator.num_processes * self.args.steps_per_generation)
            tokens = inputs["num_items_in_batch"].clamp(min=1) * share
        return aggregate(
            values, mask, self.loss_type, tokens=tokens, sequences=len(mask) * accumulation, max_length=self.max_completion_length
        )

    # ---- curriculum

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        if self._order is None:
            sampler: Sampler[int] = super()._get_train_sampler(dataset)
            return sampler
        return ReorderedSampler(super()._get_train_sampler(self._order), self._order)

    def _update_curriculum(self, order: OnlineStages, inputs: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """Semantic entropies of the rollout's problems, from the answers of all ranks."""
        texts = self.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
        ends = self.processing_class.batch_decode(batch["prompt_ids"][:, -_END_OF_PROMPT:])
        own = []
        for row, text, end, finished in zip(inputs, texts, ends, self._finished(batch), strict=True):
            opened = ends_in_thought(end) if self.args.opened is None else self.args.opened
            answer = counted_answer(text, finished, self.args.extract, thoughts=self.args.thoughts, opened=opened)
            own.append((row[ROW], answer))
        answers: dict[int, list[str | None]] = {}
        for row, answer in gather_object(own):
            answers.setdefault(row, []).append(answer)
        found = {row: semantic_entropy(group, unparsed=self.args.unparsed).value for row, group in answers.items()}
        order.update(found)
        self._metrics["train"]["semantic_entropy"].append(sum(found.values()) / len(found))

    def _finished(self, batch: dict[str, Any]) -> list[bool]:
        """Which responses ended by themselves: with a token that ends one for TRL."""
        lengths = batch["completion_mask"].sum(dim=1, keepdim=True)  # 0 where TRL masks truncated ones
        last = batch["completion_ids"].gather(1, (lengths - 1).clamp(min=0))[:, 0]
        ends = torch.tensor(self.eos_token_ids, device=last.device)
        ended: list[bool] = (torch.isin(last, ends) & (lengths[:, 0] > 0)).tolist()
        return ended

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.stage_plan is not None and "schedule" in self.args.stage_reset and self.lr_scheduler is None:
            self.lr_scheduler = staged_schedule(self.args, optimizer or self.optimizer, self.stage_plan.stage_steps)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    # ---- the state of the method (controllers, random draws) and of an online curriculum is part of a checkpoint

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            write_state(folder, self.method_state, self._order)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.args.device.type == "cpu":  # in a group it has a number, and torch.load knows no place of that name
            self.args.__dict__["_setup_devices"] = torch.device("cpu")
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.method_state = read_state(Path(checkpoint), self.method, self._order)

    def create_model_card(self, model_name: str | None = None, dataset_name: str | None = None, tags: Any = None) -> None:
        """TRL's card, which cites the method's paper, completed with what is not on the Hub."""
        on_hub = self.data.name if self.data is not None and self.data.on_hub else None
        super().create_model_card(model_name or Path(self.args.output_dir).name, dataset_name or on_hub, tags)
        if self.is_world_process_zero():
            complete_card(Path(self.args.output_dir) / "README.md", get_config_model_id(self.model.config), self.data)

    # ---- metrics

    def _log_treatment(self, rollouts: Rollouts, treatment: Treatment, measured: bool) -> None:
        """What was selected, over the whole step. Covariances only where log-probs were ``measured`` before the update."""
        for name, value in treatment_metrics(rollouts, treatment, measured).items():
            self._metrics["train"][name].append(value)

    def _log_kl(self, logps: Tensor, old_logps: Tensor, inputs: dict[str, Any]) -> None:
        """Mean KL a token (k3 times the ratio, as TRL logs it) to the old policy, and to the reference unless TRL logs that.

        Divided by the mean number of tokens of a micro-batch, so that the mean over micro-batches, which TRL logs, is that over tokens.
        """
        anchors = {"kl_old": old_logps}
        if self._uniform_beta == 0 and "ref_per_token_logps" in inputs:
            anchors["kl"] = inputs["ref_per_token_logps"]
        tokens = inputs["num_items_in_batch"].clamp(min=1) / (self.accelerator.num_processes * self.args.steps_per_generation)
        for name, anchor in anchors.items():
            kl = kl_estimate(logps, anchor, old_logps, "k3", importance=True)
            mean = self.accelerator.reduce(kl[_valid(inputs)].sum() / tokens, reduction="mean")
            self._metrics["train"][name].append(mean.item())


def _valid(batch: Mapping[str, Any]) -> Tensor:
    """(b, T) bool: the tokens that the policy wrote and that are trained on."""
    mask: Tensor = batch["completion_mask"]
    return (mask if "tool_mask" not in batch else mask * batch["tool_mask"]).bool()
