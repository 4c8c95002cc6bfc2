"""Run by test_trl_contract under torchrun and alone: every method for a few steps on fixed responses, results as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState
from trl_helpers import GROUP, LENGTH, QUESTIONS, Ours, build, logged, tasks, weights

from sent_rl.methods import names
from sent_rl.trainers.trl import SENTConfig

torch.set_num_threads(1)


def allow_shards_without_gpus() -> None:
    """accelerate runs FSDP on every kind of device but CPUs, where PyTorch can; here they pass as another kind."""
    original = AcceleratorState.__init__

    def init(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        group = PartialState()._shared_state
        if group["distributed_type"] == DistributedType.MULTI_CPU:
            group["distributed_type"] = DistributedType.MULTI_XPU
        original(self, *args, **kwargs)

    AcceleratorState.__init__ = init


class FixedResponses(Ours):
    """Responses that follow from the prompt and the row alone, so that every number of processes samples the same."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        responses = []
        for row, prompt in enumerate(prompt_ids):
            rng = torch.Generator().manual_seed(sum(prompt) * 31 + row % GROUP)
            length = int(torch.randint(3, LENGTH, (1,), generator=rng))
            body = torch.randint(3, 20, (length,), generator=rng).tolist()
            responses.append([*body, 1])
        return responses, None

    def _treat(self, batch: dict[str, Any], stats: Any) -> None:
        super()._treat(batch, stats)
        t = self._treatment
        assert t is not None
        tensors = torch.stack([t.kl_coef, t.policy_weight, t.advantages])
        padding = (0, LENGTH - tensors.size(-1))
        self.treatments = [*getattr(self, "treatments", []), torch.nn.functional.pad(tensors, padding).tolist()]


def run(name: str, options: dict[str, Any], out: Path, processes: int) -> tuple[Any, int]:
    trainer = build(
        FixedResponses,
        SENTConfig,
        out,
        tasks(24, stages=2),
        method={"name": name, **options},
        per_device_train_batch_size=QUESTIONS * GROUP // processes,
        num_iterations=2,
        max_steps=4,
        learning_rate=1e-5,  # nonsense responses: a larger step would blow the KL up and hide the digits that matter
    )
    trainer.train()
    found = {
        "treatments": trainer.treatments,
        "losses": trainer.losses,
        "weights": weights(trainer)[::9973].tolist(),
        "grad_norm": logged(trainer, "grad_norm") if trainer.accelerator.is_main_process else [],
    }
    return found, trainer.accelerator.process_index


def main() -> None:
    out = Path(sys.argv[1])
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    found: dict[str, Any] = {}
    if os.environ.get("ACCELERATE_USE_FSDP"):
        allow_shards_without_gpus()
    for name in sys.argv[3:] or names():
        found[name], rank = run(name, json.loads(sys.argv[2]).get(name, {}), out, processes)
    out.with_name(f"{out.name}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
