"""Run by test_trl_contract under torchrun and alone: two steps on fixed responses, results as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from trl_helpers import GROUP, LENGTH, QUESTIONS, Ours, build, logged, weights

from sent_rl.trainers.trl import SENTConfig

torch.set_num_threads(1)


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
        assert self._treatment is not None
        self.kl_coef = [*getattr(self, "kl_coef", []), self._treatment.kl_coef.tolist()]


def main() -> None:
    out = Path(sys.argv[1])
    processes = int(__import__("os").environ.get("WORLD_SIZE", "1"))
    trainer = build(
        FixedResponses,
        SENTConfig,
        out,
        method={"name": "sent", "beta_low": 0.3, "beta_high": 2.0, "high_covariance_fraction": 0.2},
        per_device_train_batch_size=QUESTIONS * GROUP // processes,
        num_iterations=2,
        learning_rate=1e-5,  # nonsense responses: a larger step would blow the KL up and hide the digits that matter
        max_steps=4,
    )
    trainer.train()
    found = {
        "kl_coef": trainer.kl_coef,
        "losses": trainer.losses,
        "weights": weights(trainer)[::997].tolist(),
        "grad_norm": logged(trainer, "grad_norm") if trainer.accelerator.is_main_process else [],
    }
    out.with_name(f"{out.name}-{trainer.accelerator.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
