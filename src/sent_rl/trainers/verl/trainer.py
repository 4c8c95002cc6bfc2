"""verl's synchronous trainer with treated tokens: mode ``sent``."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import transfer_queue
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.workers.utils.padding import response_to_nested

from sent_rl import __version__
from sent_rl.curriculum import counted_answer, semantic_entropy
from sent_rl.errors import UserError
from sent_rl.files import write_json
from sent_rl.methods import Rollouts, State, Treatment
from sent_rl.trainers.metrics import treatment_metrics
from sent_rl.trainers.verl.checks import adapt, check, require_policy_loss, set_training_steps
from sent_rl.trainers.verl.config import SENTPolicyLossConfig
from sent_rl.trainers.verl.curriculum import (
    StagedIndices,
    extra_infos,
    final_rows,
    finished,
    is_staged,
    staged_indices,
)
from sent_rl.trainers.verl.loss import FACTS, KL_COEF, STEP, SENTLoss, fact_name
from sent_rl.trainers.verl.thoughts import settle_thoughts

STATE_FILE = "sent_state.json"
_FIELDS = ["entropy", "old_log_probs", "advantages", "response_mask"]


@register_trainer("sent")
class SENTTrainer(PPOTrainerSync):
    """Everything of verl's synchronous trainer, and:

    After the advantages of a step are there, the method treats its tokens, all of them, on the driver; treated advantages and KL
    coefficients go back to where the workers read the batch. The workers' loss is verl's own, with the user's ``loss_mode``, plus the
    token-weighted KL (:class:`sent_rl.trainers.verl.loss.SENTLoss`). Rows with ``extra_info.stage`` are walked stage after stage.
    """

    # verl's own attributes that are read or replaced here
    config: DictConfig
    train_dataloader: Any
    total_training_steps: int
    tokenizer: Any
    train_dataset: Any

    def __init__(self, config: DictConfig) -> None:
        require_policy_loss(config)
        self.sent: SENTPolicyLossConfig = omega_conf_to_dataclass(config.actor_rollout_ref.actor.policy_loss)
        self.method = self.sent.resolved()
        self.reference_is_ours = adapt(config, self.method)
        self.method_state: State | None = None
        self.staged: StagedIndices | None = None
        super().__init__(config)

    def on_init_end(self) -> None:
        super().on_init_end()
        actor = self.config.actor_rollout_ref.actor
        if self.reference_is_ours:
            actor = OmegaConf.merge(actor, {"use_kl_loss": False})  # verl's uniform KL with coefficient 0 would only cost memory
        self.actor_rollout_wg.set_loss_fn(SENTLoss(omega_conf_to_dataclass(actor)))
        staged = "no stages" if self.staged is None else f"stages of {self.staged.stages.batches} steps"
        print(f"sent-rl {__version__}: verl plug-in at work, method {self.method!r}, {staged}", flush=True)

    # ---- curriculum

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        self.opened = settle_thoughts(self.config, self.tokenizer, self.train_dataset)
        rows = extra_infos(self.train_dataset)
        staged = is_staged(rows)
        check(self.config, self.method, staged)
        if not staged:
            return
        batch, steps = self.config.data.train_batch_size, self.config.trainer.total_training_steps
        seed = self.config.data.get("seed") or 0
        self.staged = staged_indices(rows, self.method, batch, self.sent.stage_passes, steps, seed)
        self.train_dataloader = StatefulDataLoader(
            dataset=self.train_dataset,
            batch_size=self.train_dataloader.batch_size,
            num_workers=self.config.data["dataloader_num_workers"],
            drop_last=True,
            collate_fn=collate_fn,
            sampler=self.staged,
        )
        self.steps_per_epoch = self.total_training_steps = len(self.staged) // batch
        set_training_steps(self.config, self.total_training_steps)

    # ---- treatment of a step's tokens

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._compute_advantage(batch, metrics)
        if self.staged is not None and self.staged.online is not None:
            self._update_curriculum(batch, metrics)
        if self.method.selection_scope == "micro_batch":
            batch.extra_info[STEP] = self.global_steps
            return batch  # treated in the workers, at every pass
        data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=_FIELDS)
        nested_mask, padded = data["response_mask"], data.to_padded_tensor()
        stage = 0 if self.staged is None else self.staged.stages.stage_of_batch(self.global_steps - 1)
        rollouts = Rollouts(
            padded["old_log_probs"],
            padded["entropy"],
            padded["advantages"],
            padded["response_mask"],
            stage,
        )
        treatment = self.method.treat(rollouts, self.method_state)
        self.method_state = treatment.state
        metrics.update({f"sent/{name}": value for name, value in treatment_metrics(rollouts, treatment, measured=True).items()})
        if self.staged is not None:
            metrics["sent/stage"] = stage
        fields = {"advantages": treatment.advantages * treatment.policy_weight, KL_COEF: treatment.kl_coef}
        nested = TensorDict({name: response_to_nested(values, nested_mask) for name, values in fields.items()}, batch_size=len(batch))
        extra = batch.extra_info
        batch = transfer_queue.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=nested)
        batch.extra_info.update({**extra, **_facts(treatment)})
        return batch

    def _update_curriculum(self, batch: Any, metrics: dict[str, Any]) -> None:
        """Semantic entropies of the step's problems, from the answers that the rollouts gave."""
        assert self.staged is not None
        assert self.staged.online is not None
        keys = [batch.keys[row] for row in final_rows(batch.keys, batch.tags)]
        data = transfer_queue.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["responses", "extra_info"])
        texts = self.tokenizer.batch_decode([row.tolist() for row in data["responses"].unbind()], skip_special_tokens=True)
        answers: dict[int, list[str | None]] = {}
        ended = finished(data["responses"].unbind(), self.config.data.max_response_length, self.tokenizer.eos_token_id)
        for row, text, done in zip(data["extra_info"], texts, ended, strict=True):
            answer = counted_answer(text, done, self.sent.extract, thoughts=self.sent.thoughts, opened=self.opened)
            answers.setdefault(self.staged.place[row["index"]], []).append(answer)
        found = {index: semantic_entropy(group, unparsed=self.sent.unparsed).value for index, group in answers.items()}
        self.staged.online.update(found)
        metrics["sent/semantic_entropy"] = sum(found.values()) / len(found)

    # ---- the state of the method is part of a checkpoint; that of the curriculum is in the data loader's

    def _save_checkpoint(self) -> None:
        folder = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        # before verl names the checkpoint as the latest
        write_json(folder / STATE_FILE, {"method": self.method_state})
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if not self.global_steps:
            return
        path = checkpoint_folder(self.config, self.global_steps) / STATE_FILE
        with suppress(OSError, ValueError, KeyError, TypeError):  # without a readable state: refused below where one is needed
            self.method_state = json.loads(path.read_text(encoding="utf-8"))["method"]
        kept = self.method.state_keys if self.method.selection_scope == "step" else frozenset()
        if not kept <= set(self.method_state or {}):
            raise UserError(
                f"{path}: holds no state of method {self.method.name!r}, which goes on from it;"
                " resume a checkpoint of the same method, or set trainer.resume_mode=disable"
            )


def checkpoint_folder(config: DictConfig, step: int) -> Path:
    """The folder of the checkpoint that verl resumed at a step."""
    if config.trainer.resume_mode == "resume_path":
        return Path(config.trainer.resume_from_path)
    return Path(config.trainer.default_local_dir) / f"global_step_{step}"


def _facts(treatment: Treatment) -> dict[str, Any]:
    """What the workers' loss needs besides the fields of the batch."""
    return {fact_name(name): getattr(treatment, name) for name in FACTS}
