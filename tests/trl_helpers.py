"""Small TRL trainers on the embedded model, with what they computed written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sent_rl.models import EMBEDDED
from sent_rl.problems import arithmetic_problems
from sent_rl.trainers.trl import SENTConfig, SENTTrainer

QUESTIONS, GROUP, LENGTH = 4, 4, 12
SENT: dict[str, Any] = {"name": "sent", "beta_low": 0.3, "beta_high": 2.0, "high_covariance_fraction": 0.2}
# Options that make a method's effect visible in a few steps on a few tokens.
STRONG: dict[str, dict[str, Any]] = {
    "entropy_bonus": {"coef": 0.1},
    "clip_cov": {"clip_fraction": 0.1, "cov_low": 0.01},
    "kl_cov": {"top_fraction": 0.1},
    "high_entropy_kl": {"beta": 1.0},
    "sent": {k: v for k, v in SENT.items() if k != "name"},
    "sent_as_published": {"extreme_fraction": 0.1},
    "sent_online": {k: v for k, v in SENT.items() if k != "name"},
    "sent_adaptive": {k: v for k, v in SENT.items() if k != "name"},
}


def tasks(count: int = 24, stages: int | None = None) -> Dataset:
    problems = arithmetic_problems([1, 2], count, "train")
    columns: dict[str, list[Any]] = {"prompt": [f"{p.prompt}\n" for p in problems], "answer": [p.answer for p in problems]}
    if stages:
        columns["stage"] = [i * stages // count for i in range(count)]
    return Dataset.from_dict(columns)


def uneven_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Deterministic, and different inside almost every group."""
    return [float(sum(map(ord, c)) % 7) / 3 for c in completions]


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "seed": 1,
        "max_steps": 3,
        "per_device_train_batch_size": QUESTIONS * GROUP,
        "gradient_accumulation_steps": 1,
        "num_generations": GROUP,
        "max_completion_length": LENGTH,
        "learning_rate": 3e-4,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "use_cpu": True,
    }
    return {**defaults, **changes}


class Recorder:
    """Mixed into a trainer: keeps the loss of every micro-batch, the gradient norm of every step, and how often the policy was run."""

    losses: list[float]
    passes: int
    batches: list[dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.losses, self.passes, self.batches = [], 0, []
        super().__init__(*args, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        self.losses.append(loss.item())
        return loss

    def count_passes(self) -> None:
        """From now on, ``passes`` counts the policy's forward passes over whole responses."""

        def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            self.passes += "fused_lm_head" in kwargs

        self.model.register_forward_pre_hook(count, with_kwargs=True)  # type: ignore[attr-defined]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self.batches.append(dict(batch))
        return batch


class Updates(TrainerCallback):
    """The weights before every optimizer step and its clipped gradient, flat.

    With a leader every step starts from the leader's weights. Two ways to sum the same terms differ
    in the last digits of float32, and several steps in a row multiply that: Adam divides a small
    gradient by its own size. How far it comes to depends on the CPU's kernels. What single steps
    from equal weights compute does not, beyond the rounding of one sum.
    """

    def __init__(self, leader: Updates | None = None) -> None:
        self.leader = leader
        self.starts: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        if self.leader is not None:
            vector_to_parameters(self.leader.starts[state.global_step].clone(), model.parameters())
        self.starts.append(parameters_to_vector(model.parameters()).detach().clone())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.gradients.append(parameters_to_vector([p.grad for p in kwargs["model"].parameters()]))


def updates(trainer: Any, leader: Updates | None = None) -> Updates:
    """Train, and return what every optimizer step started from and computed."""
    found = Updates(leader)
    trainer.add_callback(found)
    trainer.train()
    return found


def assert_same_updates(found: Updates, truth: Updates, terms: int) -> None:
    """Gradients of steps from equal weights agree as two orders of summation do.

    Rounding moves a float32 sum of n terms by n eps at most, relative to the sum of their sizes;
    ``terms`` is the number of tokens that a gradient is summed over.
    """
    assert len(found.gradients) == len(truth.gradients)
    for ours_, theirs_ in zip(found.gradients, truth.gradients, strict=True):
        assert (ours_ - theirs_).norm() <= terms * torch.finfo(torch.float32).eps * theirs_.norm()


class Ours(Recorder, SENTTrainer):
    pass


class Theirs(Recorder, GRPOTrainer):
    pass


def build(cls: type, config: type, folder: Path, dataset: Dataset | None = None, **changes: Any) -> Any:
    trainer = cls(
        model=str(EMBEDDED),
        reward_funcs=uneven_reward,
        args=config(**settings(folder, **changes)),
        train_dataset=dataset or tasks(),
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED, padding_side="left"),
    )
    trainer.count_passes()
    return trainer


def ours(folder: Path, dataset: Dataset | None = None, **changes: Any) -> Any:
    return build(Ours, SENTConfig, folder, dataset, **changes)


def theirs(folder: Path, **changes: Any) -> Any:
    return build(Theirs, GRPOConfig, folder, **changes)


def weights(trainer: Any) -> Tensor:
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in trainer.model.parameters()]  # under FSDP they are shards
    return torch.cat([p.detach().flatten() for p in whole])


def logged(trainer: Any, key: str) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]
