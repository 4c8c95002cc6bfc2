"""The curriculum inside a TRL run: which optimizer step belongs to which stage, and what a new stage starts anew."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import IterableDataset
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler
from trl.trainer.callbacks import SyncRefModelCallback
from trl.trainer.utils import create_model_from_path

from sent_rl.curriculum import OnlineStages, StageSampler
from sent_rl.errors import UserError
from sent_rl.methods import Method
from sent_rl.trainers.trl.config import SENTConfig

ROW = "sent_row"
"""Column of the training set that an online curriculum adds: the index of the row."""


class StagePlan:
    """The order of a staged training set and its boundaries in optimizer steps."""

    def __init__(self, stage: Sequence[int], args: SENTConfig) -> None:
        micro, accumulation = args.micro_steps_per_rollout, args.gradient_accumulation_steps
        # A stage is a whole number of rollouts and of optimizer steps.
        rollouts_a_unit = math.lcm(micro, accumulation) // micro
        self.micro_batches_a_rollout, self.micro_batches_a_step = micro, accumulation
        passes = int(args.num_train_epochs)
        if args.max_steps <= 0 and (passes != args.num_train_epochs or passes < 1):
            raise UserError(f"num_train_epochs: {args.num_train_epochs}; with stages it counts passes over each and must be whole")
        rollouts = -(-args.max_steps * accumulation // micro) if args.max_steps > 0 else None
        try:
            self.sampler = StageSampler(
                stage,
                args.generation_batch_size // args.num_generations,
                passes=passes,
                batches=rollouts,
                multiple_of=rollouts_a_unit,
                seed=args.seed,
            )
        except ValueError as error:
            raise UserError(f"curriculum: {error}; use fewer stages, more problems, smaller batches or more steps") from error

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return sum(self.stage_steps)

    @property
    def stage_steps(self) -> list[int]:
        """Optimizer steps of each stage."""
        micro_batches = (rollouts * self.micro_batches_a_rollout for rollouts in self.sampler.batches)
        return [count // self.micro_batches_a_step for count in micro_batches]

    def stage_of_step(self, step: int) -> int:
        """The stage of the optimizer step that follows ``step`` finished ones."""
        # in whole numbers: a quotient of floats may fall just below the rollout's number
        rollout = step * self.micro_batches_a_step // self.micro_batches_a_rollout
        return self.sampler.stage_of_batch(rollout)


def plan_stages(args: SENTConfig, dataset: Any) -> StagePlan | None:
    """The plan for a data set with a ``stage`` column; the run's length and order then follow from it."""
    if dataset is None or "stage" not in (getattr(dataset, "column_names", None) or []):
        return None
    if isinstance(dataset, IterableDataset):
        raise UserError(
            "train_dataset: has a column 'stage', but a streamed data set cannot be put in order; load it whole or drop the column"
        )
    plan = StagePlan(dataset["stage"], args)
    if 0 < args.max_steps != plan.steps:
        warnings.warn(f"max_steps: {args.max_steps} cannot be whole rollouts in every stage; training takes {plan.steps}", stacklevel=3)
    args.max_steps, args.num_train_epochs, args.shuffle_dataset = plan.steps, 1, False
    return plan


def online_order(plan: StagePlan, method: Method, dataset: Any) -> tuple[OnlineStages, Any]:
    """The order that follows the rollouts, and the data set with the row numbers that it needs."""
    known = "semantic_entropy" in dataset.column_names
    start = dataset["semantic_entropy"] if known else [0.0] * len(dataset)
    return OnlineStages(plan.sampler, start, getattr(method, "smoothing", 1.0)), dataset.add_column(ROW, list(range(len(dataset))))


class ReorderedSampler(Sampler[int]):
    """What ``inner`` yields, read as positions in ``order``. TRL's sampler repeats each prompt; the order is ours."""

    def __init__(self, inner: Sampler[int], order: Sequence[int]) -> None:
        self.inner, self.order = inner, order

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return (self.order[position] for position in self.inner)


def staged_schedule(args: SENTConfig, optimizer: torch.optim.Optimizer, stage_steps: Sequence[int]) -> LambdaLR:
    """The configured learning-rate schedule, started anew at every stage. The factor depends on the step alone, so resuming is exact."""

    def restarted(lambdas: Sequence[Callable[[int], float]], step: int) -> float:
        for lr_lambda, steps in zip(lambdas, stage_steps, strict=True):
            if step < steps:
                return lr_lambda(step)
            step -= steps
        return lambdas[-1](step + stage_steps[-1])

    lambdas = []
    for steps in stage_steps:
        throw_away = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
        schedule = get_scheduler(
            args.lr_scheduler_type,
            optimizer=throw_away,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        if not isinstance(schedule, LambdaLR):
            raise UserError(f"lr_scheduler_type: '{args.lr_scheduler_type}' cannot be restarted a stage; drop 'schedule' from stage_reset")
        lambdas.append(schedule.lr_lambdas[0])
    return LambdaLR(optimizer, partial(restarted, lambdas))


class StageCallback(TrainerCallback):
    """Resets what ``stage_reset`` names when a stage begins, and finds the right reference again on resume.

    ``models`` gives the unwrapped policy and the unwrapped reference, None where there is none.
    """

    def __init__(self, plan: StagePlan, args: SENTConfig, models: Callable[[], tuple[PreTrainedModel, PreTrainedModel | None]]) -> None:
        self.plan, self.args, self.models = plan, args, models
        self.stage = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # A checkpoint that was written at a boundary belongs to the stage that ended there.
        self.stage = self.plan.stage_of_step(max(0, state.global_step - 1))
        _, reference = self.models()
        if self.stage > 0 and "reference" in self.args.stage_reset and reference is not None:
            saved = create_model_from_path(str(self._reference_folder(self.stage)), dtype=reference.dtype)
            SyncRefModelCallback.sync_target_model(saved.to(reference.device), reference, 1.0)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        stage = self.plan.stage_of_step(state.global_step)
        if stage == self.stage:
            return
        self.stage = stage
        if "optimizer" in self.args.stage_reset:
            optimizer = kwargs["optimizer"]
            while hasattr(optimizer, "optimizer"):
                optimizer = optimizer.optimizer
            optimizer.state.clear()
        policy, reference = self.models()
        if "reference" in self.args.stage_reset and reference is not None:
            SyncRefModelCallback.sync_target_model(policy, reference, 1.0)
            if args.should_save:
                reference.save_pretrained(self._reference_folder(stage))

    def _reference_folder(self, stage: int) -> Path:
        return Path(self.args.output_dir) / f"reference-stage-{stage}"


class RolloutBoundarySaves(TrainerCallback):
    """Puts a checkpoint off to the next step that ends a rollout.

    Between two rollouts the half-used batch is not part of a checkpoint, so that resuming there would sample it anew.
    """

    def __init__(self, args: SENTConfig) -> None:
        self.micro, self.accumulation = args.micro_steps_per_rollout, args.gradient_accumulation_steps
        self.owed = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        self.owed |= control.should_save
        boundary = state.global_step * self.accumulation % self.micro == 0 or state.global_step >= state.max_steps
        control.should_save = self.owed and boundary
        self.owed &= not boundary
        return control
