"""Run by tests under torchrun and alone: methods for a few steps on fixed responses, results as JSON.

``--dump`` also writes the tensors of the second update, the first that is off-policy.
"""

from __future__ import annotations

import argparse
import json
import os
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

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        inputs = self._loss_inputs
        if inputs is not None and "raw_entropies" in inputs and found[1] is not None:
            old, reference = inputs["old_per_token_logps"], inputs.get("ref_per_token_logps")
            update = {"mask": inputs["completion_mask"], "old": old, "reference": old if reference is None else reference}
            update |= {key: inputs[f"raw_{key}"] for key in ("advantages", "entropies")}
            self.updates = [*getattr(self, "updates", []), {**update, "new": found[0].detach(), "new_entropies": found[1].detach()}]
        return found

    def _treat(self, batch: dict[str, Any], stats: Any) -> None:
        if stats is not None:  # TRL shuffles and splits them with the rest
            batch["raw_advantages"] = batch["advantages"][:, None].expand_as(batch["completion_mask"])
            batch["raw_entropies"] = stats[1]
        super()._treat(batch, stats)
        t = self._treatment
        assert t is not None
        tensors = torch.stack([t.kl_coef, t.policy_weight, t.advantages])
        padding = (0, LENGTH - tensors.size(-1))
        self.treatments = [*getattr(self, "treatments", []), torch.nn.functional.pad(tensors, padding).tolist()]


def run(name: str, options: dict[str, Any], out: Path, micro: int | None, dump: bool) -> tuple[Any, int]:
    own = QUESTIONS * GROUP // int(os.environ.get("WORLD_SIZE", "1"))
    size = micro or own
    trainer = build(
        FixedResponses,
        SENTConfig,
        out,
        tasks(24, stages=2),
        method={"name": name, **options},
        per_device_train_batch_size=size,
        gradient_accumulation_steps=own // size,
        num_iterations=2,
        max_steps=4,
        learning_rate=1e-5,  # nonsense responses: a larger step would blow the KL up and hide the digits that matter
    )
    trainer.train()
    if dump:
        torch.save(trainer.updates[1], out.with_name(f"{out.name}-{name}.pt"))
    found = {
        "treatments": trainer.treatments,
        "losses": trainer.losses,
        "weights": weights(trainer)[::9973].tolist(),
        "grad_norm": logged(trainer, "grad_norm") if trainer.accelerator.is_main_process else [],
    }
    return found, trainer.accelerator.process_index


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("options", type=json.loads)
    parser.add_argument("names", nargs="*", default=names())
    parser.add_argument("--micro", type=int)
    parser.add_argument("--dump", action="store_true")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if os.environ.get("ACCELERATE_USE_FSDP"):
        allow_shards_without_gpus()
    for name in given.names:
        found[name], rank = run(name, given.options.get(name, {}), given.out, given.micro, given.dump)
    given.out.with_name(f"{given.out.name}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
